const LIGHT = `
  --_accent: var(--ksync-accent, #2a5bd7);
  --_on-accent: var(--ksync-on-accent, #ffffff);
  --_surface: var(--ksync-surface, #ffffff);
  --_raised: var(--ksync-raised, #f3f5f9);
  --_text: var(--ksync-text, #161a22);
  --_muted: var(--ksync-muted, #525c6c);
  --_line: var(--ksync-line, #808a9a);
  --_hair: var(--ksync-hair, #e0e4eb);
  --_bad: var(--ksync-bad, #b3261e);
  --_on-bad: var(--ksync-on-bad, #ffffff);
  --_good: var(--ksync-good, #1a7340);
  color-scheme: light;`;

const DARK = `
  --_accent: var(--ksync-accent, #9dbbff);
  --_on-accent: var(--ksync-on-accent, #0b1a3d);
  --_surface: var(--ksync-surface, #171a21);
  --_raised: var(--ksync-raised, #222731);
  --_text: var(--ksync-text, #eef1f6);
  --_muted: var(--ksync-muted, #a9b3c3);
  --_line: var(--ksync-line, #7b8698);
  --_hair: var(--ksync-hair, #303743);
  --_bad: var(--ksync-bad, #ffb4a9);
  --_on-bad: var(--ksync-on-bad, #40100b);
  --_good: var(--ksync-good, #84d8a5);
  color-scheme: dark;`;

const CSS = `
:host { display: block; container-type: inline-size; min-width: 0; ${LIGHT} }
:host([hidden]) { display: none; }
@media (prefers-color-scheme: dark) { :host(:not([theme="light"])) { ${DARK} } }
:host([theme="dark"]) { ${DARK} }

* { box-sizing: border-box; }
.card {
  max-width: 27rem; margin: 0 auto; padding: clamp(1rem, 6cqi, 2rem);
  background: var(--_surface); color: var(--_text);
  border: 1px solid var(--_hair); border-radius: var(--ksync-radius, 18px);
  font: 400 1rem/1.5 var(--ksync-font, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif);
  overflow-wrap: anywhere; text-align: start;
}
.card > section { animation: in .18s ease-out; }
h2 { margin: 0 0 .375rem; font-size: 1.375rem; line-height: 1.25; font-weight: 650; letter-spacing: -.012em; text-wrap: balance; }
h2:focus { outline: none; }
p { margin: 0 0 1rem; color: var(--_muted); text-wrap: pretty; }
p strong { color: var(--_text); }
.note { margin: 1rem 0 0; padding: .75rem 1rem; border-radius: 12px; background: var(--_raised); font-size: .9375rem; }
.bad { color: var(--_bad); }
.problem { margin: .5rem 0 0; font-size: .9375rem; color: var(--_bad); }
.problem:empty { display: none; }

button, input, textarea { font: inherit; color: inherit; min-height: 44px; border-radius: 12px; }
button {
  display: inline-flex; align-items: center; justify-content: center; padding: .55rem 1.1rem; cursor: pointer;
  border: 1px solid transparent; background: none; font-weight: 600; text-align: center;
  transition: background-color .12s, border-color .12s, filter .12s;
}
button.primary { background: var(--_accent); color: var(--_on-accent); }
button.primary:hover { filter: brightness(1.07); }
button.plain { border-color: var(--_line); }
button.plain:hover { background: var(--_raised); }
button.quiet { color: var(--_accent); padding-inline: .6rem; margin-inline: -.6rem; font-weight: 550; text-align: start; }
button.quiet:hover { text-decoration: underline; text-underline-offset: 3px; }
button[aria-disabled="true"] { opacity: .62; cursor: default; filter: none; }
:is(button, input, textarea):focus-visible { outline: 3px solid var(--_accent); outline-offset: 2px; }

.choices { display: grid; gap: .75rem; margin-top: 1.25rem; }
.choice {
  display: grid; grid-template-columns: auto 1fr; gap: .1rem 1rem; align-items: center; justify-items: start; width: 100%;
  padding: 1rem 1.125rem; border: 1px solid var(--_hair); border-radius: 16px; background: var(--_raised); text-align: start;
}
.choice:hover { border-color: var(--_accent); }
.choice svg { grid-row: span 2; width: 2rem; height: 2rem; color: var(--_accent); }
.choice b { font-weight: 650; align-self: end; }
.choice span { font-weight: 400; color: var(--_muted); font-size: .9375rem; line-height: 1.4; align-self: start; }

label { display: block; margin: 0 0 .375rem; font-weight: 600; font-size: .9375rem; }
input, textarea {
  width: 100%; padding: .55rem .8rem; background: var(--_surface); border: 1px solid var(--_line); min-width: 0;
}
textarea { min-height: 6rem; resize: vertical; display: block; }
.mono { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .8125rem; }
input[aria-invalid="true"], textarea[aria-invalid="true"] { border-color: var(--_bad); border-width: 2px; }
::placeholder { color: var(--_muted); opacity: 1; }
.digits { max-width: 11rem; font-size: 1.75rem; letter-spacing: .35em; padding-inline-start: .8rem; font-variant-numeric: tabular-nums; font-weight: 600; }

.actions { display: flex; flex-wrap: wrap; gap: .625rem; margin-top: 1.25rem; }
.actions button { flex: 1 1 7rem; }
.link { display: flex; gap: .5rem; }
.link button { flex: none; min-width: 5.75rem; }
.below { margin-top: 1rem; display: flex; flex-direction: column; align-items: flex-start; gap: .125rem; }
.qr { width: min(100%, 17rem); margin: 1.25rem auto; padding: .25rem; background: #fff; border-radius: 16px; border: 1px solid var(--_hair); }
.qr svg { display: block; width: 100%; height: auto; }
.short { margin: 0 0 1rem; }
.label { display: block; margin: 0 0 .375rem; font-weight: 600; font-size: .9375rem; }
.words { margin: 0; font-size: 1.25rem; line-height: 1.35; font-weight: 650; overflow-wrap: anywhere; user-select: all; -webkit-user-select: all; }
.left { margin: .625rem 0 0; font-size: .9375rem; font-variant-numeric: tabular-nums; }
.code { display: flex; justify-content: center; gap: clamp(.375rem, 3cqi, .75rem); margin: 1.5rem 0; }
.code span {
  flex: 0 1 4rem; padding: .5rem 0; text-align: center; font-size: clamp(2rem, 13cqi, 3rem); line-height: 1.25; font-weight: 650;
  font-variant-numeric: tabular-nums; color: var(--_text); background: var(--_raised); border-radius: 14px;
}
.busy { display: flex; gap: .375rem; margin: 1.5rem 0; }
.busy i { width: .625rem; height: .625rem; border-radius: 50%; background: var(--_accent); animation: pulse 1.2s ease-in-out infinite; }
.busy i:nth-child(2) { animation-delay: .18s; }
.busy i:nth-child(3) { animation-delay: .36s; }
.mark { width: 3rem; height: 3rem; margin: 0 0 1rem; display: block; }
.mark.good { color: var(--_good); }
.mark.bad { color: var(--_bad); }
.hidden { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.card.list { max-width: 40rem; }
button.danger { background: var(--_bad); color: var(--_on-bad); }
button.danger:hover { filter: brightness(1.07); }
button.small { min-height: 40px; padding: .35rem .8rem; font-size: .9375rem; }
.alerts { margin: 0 0 1.5rem; padding: 1rem 1.125rem; border-radius: 16px; border: 1px solid var(--_line); background: var(--_raised); }
.alerts[data-tone="bad"] { border-color: var(--_bad); }
.alerts h2 { margin: 0 0 .5rem; font-size: 1rem; font-weight: 650; color: var(--_text); }
.alerts ul, .devices { list-style: none; margin: 0; padding: 0; }
.alerts li { margin: 0 0 .75rem; }
.alerts li p { margin: 0; font-size: .9375rem; }
.alerts li p:first-child { color: var(--_text); font-weight: 550; font-size: 1rem; }
.devices li { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; padding: .875rem 0; border-block-start: 1px solid var(--_hair); }
.devices li > div:first-child { flex: 1 1 12rem; min-width: 0; }
.devices b { display: block; font-weight: 600; }
.devices span { color: var(--_muted); font-size: .9375rem; }
.devices span.bad { color: var(--_bad); }
.devices .ways { display: flex; flex-wrap: wrap; gap: .5rem; }
.gone { margin-top: 1rem; }
.gone h3 { margin: 0 0 .25rem; font-size: 1rem; font-weight: 650; }

.kit { list-style: none; margin: 1rem 0; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .5rem; }
.kit li { display: flex; gap: .375rem; align-items: baseline; min-width: 0; padding: .4rem .45rem; border-radius: 10px; background: var(--_raised); font-size: .9375rem; }
.kit li > span:first-child, .kit label { color: var(--_muted); font-variant-numeric: tabular-nums; font-weight: 400; font-size: .8125rem; flex: none; min-width: 1.375rem; text-align: end; margin: 0; }
.kit li > b { font-weight: 650; color: var(--_text); overflow-wrap: normal; }
.kit.entry li { padding: 0; background: none; align-items: center; }
.kit input { min-height: 40px; padding: .3rem .35rem; font-size: .9375rem; }
.kit ~ label { margin-top: 1rem; }
:is(.actions, .note) + p { margin-top: .75rem; }
.relay { margin: 0 0 1rem; }
.asked { display: grid; gap: .75rem; margin-top: 1rem; }

@container (min-width: 640px) {
  .card.kits { max-width: 40rem; }
  .card.wide { max-width: 46rem; }
  .card.wide .columns { display: grid; grid-template-columns: 18rem 1fr; gap: 2rem; align-items: start; }
  .card.wide .qr { margin: 0; width: 100%; }
  .card.wide h2 { margin-bottom: 1.25rem; }
}
@keyframes in { from { transform: translateY(6px); } }
@keyframes pulse { 0%, 60%, 100% { opacity: .25; } 30% { opacity: 1; } }
@media (prefers-reduced-motion: reduce) {
  *, .card > section, .busy i { animation: none; transition: none; }
}
@media (forced-colors: active) {
  button, .card, .choice { border: 1px solid ButtonText; }
  .busy i { background: CanvasText; }
}
`;

let sheet: CSSStyleSheet | undefined;

/** The one stylesheet of all these elements. It is constructed, so that a page's security policy has nothing against it. */
export function stylesheet(): CSSStyleSheet {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}
