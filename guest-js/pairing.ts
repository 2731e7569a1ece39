import type { Channel } from "@tauri-apps/api/core";

import type { Device, PairingStep } from "./bindings.js";
import { call, channelFor } from "./call.js";
import { cancelled, SyncError, toSyncError } from "./errors.js";

/** A newcomer that wants to be added. */
export interface JoinRequest {
  /** What it calls itself. Anybody may call a device anything: show it as text. */
  readonly name: string;
  /**
   * Whether yes is said by typing the four digits that the newcomer shows. If not, they were typed there already, or a short
   * code brought the two together, which takes none.
   */
  readonly needsCheck: boolean;
  /**
   * Adds it.
   *
   * @param digits the four digits, where `needsCheck`.
   * @throws SyncError `WRONG_CODE` while there is a try left (two in all), `TOO_MANY_TRIES`, which ends the pairing.
   */
  accept(digits?: string): Promise<void>;
  /** Refuses it, which ends the pairing on both devices. */
  refuse(): Promise<void>;
}

/**
 * Answers a request. If it rejects with `WRONG_CODE`, it is asked once more; any other rejection ends the pairing, unless it was
 * accepted already.
 */
export type RequestHandler = (request: JoinRequest) => void | Promise<void>;

/**
 * Asks the person for the four digits on the other device's screen, and passes them to `type`. That throws `WRONG_CODE` while
 * there is a try left, and so may this: then it is asked once more. Any other rejection ends the pairing.
 */
export type TypeCheckHandler = (type: (digits: string) => Promise<void>) => void | Promise<void>;

/** What one device shows so that another one can take it. */
export interface Shown {
  /** The link, `KSYNC:…`. It works once, and until it expires. */
  readonly uri: string;
  /**
   * A short code to read out and type, `7-word-word-word`, for a device whose app is set to the same relay. `null` where
   * there can be none: the relay is `embedded`. It works once, whether it is typed rightly or wrongly.
   */
  readonly code: string | null;
  /** The link as a QR code: an SVG document, black on white with its quiet zone. */
  readonly svg: string;
  /** When link and code are worth nothing any more. */
  readonly expiresAt: Date;
  /**
   * Says who hears that the code alone is worth nothing any more, with the reason: mostly `WRONG_CODE`, as somebody has typed
   * another one. The link is as good as before. If that has come already, the handler is called at once.
   */
  onCodeOver(handler: (reason: SyncError) => void): void;
  /** Gives the pairing up; `done` rejects with `CANCELLED`. Does nothing once the devices have agreed. */
  cancel(): void;
}

/** A link and a code that add whoever takes one of them, once that was agreed to here. */
export interface Invite extends Shown {
  /** Says who answers the newcomer's request. A request that has come already is handed over at once. */
  onRequest(handler: RequestHandler): void;
  /** The new device, once it is in the group. Rejects with a {@link SyncError}; need not be looked at. */
  readonly done: Promise<Device>;
}

/** What this device is in the group that it has joined. */
export interface Joined {
  /** The group. */
  readonly group: string;
  /** This device in it. */
  readonly device: string;
}

/** A link and a code with which a member adds this device. */
export interface JoinOffer extends Shown {
  /** Says who asks for the digits. If they are asked for already, it is called at once. With a code there are none. */
  onTypeCheck(handler: TypeCheckHandler): void;
  /** The group, once this device is in it. Rejects with a {@link SyncError}; need not be looked at. */
  readonly done: Promise<Joined>;
  /** Says who hears that the member has agreed; this device then waits until it is added. */
  onAgreed(handler: () => void): void;
}

type Step<T extends PairingStep["type"]> = Extract<PairingStep, { type: T }>;
type Steps = { [T in PairingStep["type"]]?: (step: Step<T>) => void };

/** A pairing of either side: steps come out of it, answers go into it. */
class Pairing<Result> {
  readonly done: Promise<Result>;
  #id: Promise<number> | undefined;
  #agreed = false;
  #over = false;
  #finish!: (result: Result) => void;
  #fail!: (error: SyncError) => void;
  readonly #steps: Steps;

  constructor(steps: Steps) {
    this.#steps = steps;
    this.done = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
    });
  }

  /** @throws SyncError if it cannot begin. */
  async begin(start: (steps: Channel<PairingStep>) => Promise<number>, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) throw cancelled("the pairing");
    const cancel = () => this.cancel();
    signal?.addEventListener("abort", cancel);
    const ended = () => signal?.removeEventListener("abort", cancel);
    // A failure that nobody looks at is handled by this, too.
    this.done.then(ended, ended);
    try {
      this.#id = start(channelFor<PairingStep>((step) => this.#receive(step)));
      await this.#id;
    } catch (error) {
      this.fail(toSyncError(error, "pairing"));
      throw error;
    }
  }

  succeed(result: Result): void {
    this.#over = true;
    this.#finish(result);
  }

  fail(error: SyncError): void {
    this.#over = true;
    this.#fail(error);
  }

  cancel(): void {
    // Once agreed, the other device may be adding this one already, and nothing here can stop it.
    if (this.#over || this.#agreed) return;
    this.fail(cancelled("the pairing"));
    this.#id?.then((id) => call("pairingCancel", id)).catch(() => {});
  }

  async check(digits: string): Promise<void> {
    await call("pairingCheck", await this.#number(), digits);
  }

  async consent(yes: boolean): Promise<void> {
    await call("pairingConsent", await this.#number(), yes);
  }

  agreed(): void {
    this.#agreed = true;
  }

  /** Runs a handler of the app. A wrong code is asked for again; anything else that it throws ends what is not agreed on yet. */
  async ask(handler: () => void | Promise<void>): Promise<void> {
    try {
      await handler();
    } catch (thrown) {
      if (this.#over) return;
      if (this.#agreed) {
        // The other device goes on, and `done` tells how that ends.
        return console.error("0k-Sync: a handler of a pairing failed after it was agreed on", thrown);
      }
      if (thrown instanceof SyncError && thrown.code === "WRONG_CODE") return this.ask(handler);
      const id = this.#id;
      this.fail(toSyncError(thrown, "pairing"));
      id?.then((number) => call("pairingCancel", number)).catch(() => {});
    }
  }

  /** A request as the app sees it. */
  request({ name, needsCheck }: Step<"request">): JoinRequest {
    return {
      name,
      needsCheck,
      accept: async (digits = "") => {
        await (needsCheck ? this.check(digits) : this.consent(true));
        this.agreed();
      },
      refuse: () => this.consent(false),
    };
  }

  async #number(): Promise<number> {
    if (!this.#id) throw cancelled("the pairing");
    return this.#id;
  }

  #receive(step: PairingStep): void {
    if (this.#over) return;
    if (step.type === "failed") this.fail(toSyncError(step.error, "pairing"));
    // Which function belongs to which step is the type's to say; an unknown step of a newer plugin has none.
    (this.#steps[step.type] as ((step: PairingStep) => void) | undefined)?.(step);
  }
}

/** Keeps the last value for a handler that comes later. */
class Later<T> {
  #value: { readonly of: T } | undefined;
  #handler: ((value: T) => void) | undefined;

  readonly put = (value: T): void => {
    if (this.#handler) this.#handler(value);
    else this.#value = { of: value };
  };

  readonly take = (handler: (value: T) => void): void => {
    this.#handler = handler;
    const waiting = this.#value;
    this.#value = undefined;
    if (waiting) handler(waiting.of);
  };
}

/** What becomes of the link and the code that are shown. */
class Showing {
  readonly steps: Pick<Steps, "uri" | "codeOver">;
  readonly #uri: Promise<Step<"uri">>;
  readonly #over = new Later<SyncError>();

  constructor() {
    let show!: (step: Step<"uri">) => void;
    this.#uri = new Promise((resolve) => (show = resolve));
    this.steps = { uri: show, codeOver: ({ error }) => this.#over.put(toSyncError(error, "pairing")) };
  }

  /** Waits for the link, or for why there is none. */
  async of<R>(pairing: Pairing<R>): Promise<Shown> {
    const step = await Promise.race([this.#uri, pairing.done.then(() => this.#uri)]);
    return {
      uri: step.uri,
      code: step.code,
      svg: step.svg,
      expiresAt: new Date(Number(step.expiresAt)),
      onCodeOver: (handler) => this.#over.take((reason) => void pairing.ask(() => handler(reason))),
      cancel: () => pairing.cancel(),
    };
  }
}

/** What to do about an invite. */
export interface InviteOptions {
  /** How long link and code work, in milliseconds: at most, and by default, 600,000. */
  ttlMs?: number;
  /** Who answers the newcomer's request; can be said later, too. */
  onRequest?: RequestHandler;
}

/** Member: shows a link and a code. */
export async function invite(options: InviteOptions): Promise<Invite> {
  const requests = new Later<JoinRequest>();
  const showing = new Showing();
  const pairing = new Pairing<Device>({
    ...showing.steps,
    request: (step) => requests.put(pairing.request(step)),
    added: ({ device }) => pairing.succeed(device),
  });
  const onRequest = (handler: RequestHandler) =>
    requests.take((request) => void pairing.ask(() => handler(request)));
  if (options.onRequest) onRequest(options.onRequest);
  await pairing.begin((steps) => call("invite", null, options.ttlMs ?? null, steps));
  return { ...(await showing.of(pairing)), onRequest, done: pairing.done };
}

/** What to do while this device takes the link or the code that a newcomer shows. */
export interface AcceptOptions {
  /** Shows these four digits; the person types them on the other device. Not called for a code. */
  onCheck: (digits: string) => void;
  /** Answers the newcomer's request, which needs no digits here. */
  onRequest: RequestHandler;
  /** Gives the pairing up. */
  signal?: AbortSignal;
}

/** Member: takes a link or a code that a newcomer shows. */
export async function accept(uriOrCode: string, options: AcceptOptions): Promise<Device> {
  const pairing = new Pairing<Device>({
    check: ({ code }) => void pairing.ask(() => options.onCheck(code)),
    request: (step) => {
      const request = pairing.request(step);
      void pairing.ask(() => options.onRequest(request));
    },
    added: ({ device }) => pairing.succeed(device),
  });
  await pairing.begin((steps) => call("invite", uriOrCode.trim(), null, steps), options.signal);
  return pairing.done;
}

/** What to do while this device takes the link or the code that a member shows. */
export interface JoinOptions {
  /** What this device calls itself, 1 to 128 bytes; by default what the app or the system calls it. */
  name?: string;
  /** Shows these four digits; the person types them on the other device. Not called for a code. */
  onCheck: (digits: string) => void;
  /** The member has agreed; this device now waits until it is added. */
  onAgreed?: () => void;
  /** Gives the pairing up. */
  signal?: AbortSignal;
}

/** Newcomer: takes a link or a code that a member shows. */
export async function join(uriOrCode: string, options: JoinOptions): Promise<Joined> {
  const pairing = new Pairing<Joined>({
    check: ({ code }) => void pairing.ask(() => options.onCheck(code)),
    agreed: () => {
      pairing.agreed();
      void pairing.ask(() => options.onAgreed?.());
    },
    joined: ({ group, device }) => pairing.succeed({ group, device }),
  });
  await pairing.begin((steps) => call("join", uriOrCode.trim(), options.name ?? null, steps), options.signal);
  return pairing.done;
}

/** What to say of a device that asks to be added. */
export interface RequestJoinOptions {
  /** Where the two meet, in place of the relay that is set: `https://…` or `ksync://…`. */
  relay?: string;
  /** What this device calls itself, 1 to 128 bytes. */
  name?: string;
}

/** Newcomer: shows a link and a code. */
export async function requestJoin(options: RequestJoinOptions): Promise<JoinOffer> {
  const [checks, agreed] = [new Later<void>(), new Later<void>()];
  const showing = new Showing();
  const pairing = new Pairing<Joined>({
    ...showing.steps,
    typeCheck: () => checks.put(),
    agreed: () => {
      pairing.agreed();
      agreed.put();
    },
    joined: ({ group, device }) => pairing.succeed({ group, device }),
  });
  await pairing.begin((steps) => call("requestJoin", options.relay ?? null, options.name ?? null, steps));
  const type = (digits: string) => pairing.check(digits);
  return {
    ...(await showing.of(pairing)),
    onTypeCheck: (handler) => checks.take(() => void pairing.ask(() => handler(type))),
    onAgreed: (handler) => agreed.take(() => void pairing.ask(handler)),
    done: pairing.done,
  };
}
