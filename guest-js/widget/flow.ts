import type { Device } from "../bindings.js";
import { SyncError, toSyncError } from "../errors.js";
import type { Joined, JoinRequest, Shown } from "../pairing.js";
import { sync } from "../sync.js";
import { isCode, type Words, wordsFor } from "./words.js";

/** Which of the two devices this one is: the one that has the data, or the one that comes to it. */
export type Mode = "add" | "join";

/** What came of a pairing: the device that was added, or what this device is now. */
export type PairedDetail =
  | { readonly role: "member"; readonly device: Device }
  | ({ readonly role: "newcomer" } & Joined);

/** What the person sees. */
export type Screen =
  | { at: "start" }
  | { at: "waiting"; words: Words; agreed?: boolean }
  | { at: "shown"; mode: Mode; shown: Shown }
  | { at: "expired"; mode: Mode }
  | { at: "paste"; mode: Mode; link: string; note?: Words }
  | { at: "digits"; digits: string }
  | { at: "type"; name?: string; submit: (digits: string) => Promise<void> }
  | { at: "consent"; name: string; yes: () => Promise<void> }
  | { at: "done"; words: Words }
  | { at: "error"; words: Words; code: string; again: () => void };

/** Whom the dialogue tells. */
export interface Host {
  /** What this device is to be called; undefined leaves that to the app. */
  readonly deviceName: string | undefined;
  /** There is another screen. */
  show(screen: Screen): void;
  /** Two devices are paired. */
  paired(detail: PairedDetail): void;
  /** The person wants to be rid of the dialogue. */
  closed(): void;
}

/** The dialogue: what follows on what. It knows nothing of how it looks. */
export class Flow {
  /** Whether this device can show a code of its own to join. Known to be false once that has failed. */
  canOffer = true;
  #screen: Screen = { at: "start" };
  /** Counts attempts: what an earlier one still says is of no interest. */
  #turn = 0;
  #cancel: (() => void) | undefined;
  #mode: Mode = "add";
  #refuse: (() => Promise<void>) | undefined;
  readonly #host: Host;

  constructor(host: Host) {
    this.#host = host;
  }

  /** Asks which of the two devices this is, or goes on as if that had been answered. */
  begin(mode?: Mode): void {
    if (mode === "add") void this.add();
    else if (mode === "join") this.paste("join");
    else this.home();
  }

  /** The two choices. Gives up what is open. */
  home(): void {
    this.#next();
    this.#show({ at: "start" });
  }

  /** Gives up what is open, and shows nothing more of it. */
  stop(): void {
    this.#next();
  }

  /** Away with the dialogue. */
  close(): void {
    this.home();
    this.#host.closed();
  }

  /** One step back: Escape. Gives false where there is nothing to go back to, and the dialogue is closed. */
  back(rootMode?: Mode): boolean {
    const screen = this.#screen;
    if (screen.at === "paste" && screen.mode === "add") {
      void this.add();
      return true;
    }
    if (screen.at === "shown" && screen.mode === "join") {
      this.paste("join");
      return true;
    }
    if (["start", "done", "error"].includes(screen.at) || rootMode !== undefined) {
      this.close();
      return false;
    }
    this.home();
    return true;
  }

  /** Shows a code for a newcomer. */
  async add(): Promise<void> {
    const turn = this.#next("add");
    this.#wait("Making a code", "This takes a moment.");
    try {
      const invite = await sync.invite();
      if (turn !== this.#turn) return invite.cancel();
      this.#cancel = () => invite.cancel();
      this.#show({ at: "shown", mode: "add", shown: invite });
      invite.onRequest((request) => this.#request(turn, request));
      this.#added(turn, await invite.done);
    } catch (error) {
      this.#failed(turn, error, () => void this.add());
    }
  }

  /** Shows a code for a member. */
  async offer(): Promise<void> {
    const turn = this.#next("join");
    this.#wait("Making a code", "This takes a moment.");
    const name = this.#host.deviceName;
    try {
      const offer = await sync.requestJoin(name === undefined ? {} : { name });
      if (turn !== this.#turn) return offer.cancel();
      this.#cancel = () => offer.cancel();
      this.#show({ at: "shown", mode: "join", shown: offer });
      offer.onTypeCheck((type) => {
        if (turn !== this.#turn) return;
        const submit = (digits: string) =>
          this.#answer(turn, () => type(digits), "Waiting for the other device", "Agree there that this device may join.");
        this.#show({ at: "type", submit });
      });
      offer.onAgreed(() => this.#agreed(turn));
      this.#joined(turn, await offer.done);
    } catch (error) {
      if (turn === this.#turn && error instanceof SyncError && error.code === "ADDRESS_INVALID") {
        // Without a relay of its own, only the device that has the data can show a code.
        this.canOffer = false;
        return this.paste("join", "", wordsFor(error));
      }
      this.#failed(turn, error, () => void this.offer());
    }
  }

  /** Asks for the other device's link or code. */
  paste(mode: Mode, link = "", note?: Words): void {
    this.#next(mode);
    this.#show({ at: "paste", mode, link, ...(note && { note }) });
  }

  /** Takes the other device's link or code. A link for the other side is taken on the other side. */
  async connect(link: string, mode: Mode): Promise<void> {
    const turn = this.#next(mode);
    const byCode = isCode(link);
    this.#wait("Connecting", "Keep the code open on the other device.");
    const controller = new AbortController();
    this.#cancel = () => controller.abort();
    try {
      try {
        await this.#take(turn, link, mode, controller.signal);
      } catch (error) {
        // While nothing was shown, the link itself was refused, and is still good. A code is not.
        const unmet = !byCode && turn === this.#turn && this.#screen.at === "waiting";
        if (!unmet || !(error instanceof SyncError) || error.code !== "WRONG_SIDE") throw error;
        this.#mode = mode === "add" ? "join" : "add";
        await this.#take(turn, link, this.#mode, controller.signal);
      }
    } catch (error) {
      const mendable = byCode ? ["CODE_INVALID", "NO_SUCH_PAIRING", "TOO_MANY_TRIES"] : ["LINK_INVALID", "WRONG_APP"];
      const kept = error instanceof SyncError && mendable.includes(error.code);
      this.#failed(turn, error, () => this.paste(mode, kept ? link : ""), byCode);
    }
  }

  /** The link's time is over. */
  expired(mode: Mode): void {
    this.#next(mode);
    this.#show({ at: "expired", mode });
  }

  /** Says no to a newcomer. */
  refuse(): void {
    const refuse = this.#refuse;
    // The pairing ends by the no, and is not to be cancelled as well.
    this.#cancel = undefined;
    this.#next();
    refuse?.().catch(() => {});
    this.#show({ at: "error", code: "REFUSED_HERE", words: refused(), again: () => void this.add() });
  }

  async #take(turn: number, link: string, mode: Mode, signal: AbortSignal): Promise<void> {
    const onCheck = (digits: string) => {
      if (turn === this.#turn) this.#show({ at: "digits", digits });
    };
    if (mode === "add") {
      const onRequest = (request: JoinRequest) => this.#request(turn, request);
      return this.#added(turn, await sync.accept(link, { onCheck, onRequest, signal }));
    }
    const name = this.#host.deviceName;
    const onAgreed = () => this.#agreed(turn);
    this.#joined(turn, await sync.join(link, { ...(name !== undefined && { name }), onCheck, onAgreed, signal }));
  }

  #request(turn: number, request: JoinRequest): void {
    if (turn !== this.#turn) return;
    const { name, needsCheck } = request;
    this.#refuse = () => request.refuse();
    const next = "It takes a few seconds until the new device is in.";
    const accept = (digits?: string) => this.#answer(turn, () => request.accept(digits), `Adding «${name}»`, next, true);
    this.#show(needsCheck ? { at: "type", name, submit: accept } : { at: "consent", name, yes: () => accept() });
  }

  /** Gives an answer. Throws what the person can put right on the same screen. */
  async #answer(turn: number, give: () => Promise<void>, what: string, next: string, agreed = false): Promise<void> {
    const asked = this.#screen;
    try {
      await give();
    } catch (error) {
      if (error instanceof SyncError && error.code === "WRONG_CODE") throw error;
      const mode = this.#mode;
      return this.#failed(turn, error, () => this.begin(mode));
    }
    // The end may have come first.
    if (turn === this.#turn && this.#screen === asked) this.#wait(what, next, agreed);
  }

  #agreed(turn: number): void {
    if (turn !== this.#turn) return;
    this.#wait("Agreed", "The other device is adding this one. You can close this: it goes on by itself.", true);
  }

  #added(turn: number, device: Device): void {
    this.#host.paired({ role: "member", device });
    const what = device.name === null ? "The device was added" : `«${device.name}» was added`;
    this.#end(turn, { what, next: "What is here comes to it now, and what either of you changes from now on." });
  }

  #joined(turn: number, joined: Joined): void {
    this.#host.paired({ role: "newcomer", ...joined });
    this.#end(turn, { what: "This device has joined", next: "What the other device has comes here now." });
  }

  #end(turn: number, words: Words): void {
    if (turn !== this.#turn) return;
    this.#cancel = undefined;
    this.#next();
    this.#show({ at: "done", words });
  }

  #failed(turn: number, thrown: unknown, again: () => void, byCode = false): void {
    if (turn !== this.#turn) return;
    const { code } = toSyncError(thrown, "pairing");
    if (code === "PAIRING_EXPIRED" && this.#screen.at === "shown") return this.expired(this.#screen.mode);
    this.#next();
    this.#show({ at: "error", code, words: wordsFor(thrown, byCode), again });
  }

  #wait(what: string, next: string, agreed = false): void {
    this.#show({ at: "waiting", words: { what, next }, ...(agreed && { agreed }) });
  }

  /** Gives up what is open, and begins another attempt. */
  #next(mode = this.#mode): number {
    this.#mode = mode;
    const cancel = this.#cancel;
    this.#cancel = undefined;
    this.#turn += 1;
    cancel?.();
    return this.#turn;
  }

  #show(screen: Screen): void {
    this.#screen = screen;
    this.#host.show(screen);
  }
}

function refused(): Words {
  return wordsFor(new SyncError("REFUSED_HERE", ""));
}
