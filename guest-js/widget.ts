/**
 * `<ksync-pair>`: the whole dialogue of pairing two devices, as one element. Importing this module defines it.
 *
 * @packageDocumentation
 */
import { KsyncPair } from "./widget/element.js";

export { KsyncPair, type PairedDetail } from "./widget/element.js";

// A page may load two bundles that have it.
if (typeof customElements !== "undefined" && !customElements.get("ksync-pair")) {
  customElements.define("ksync-pair", KsyncPair);
}

declare global {
  interface HTMLElementTagNameMap {
    "ksync-pair": KsyncPair;
  }
}
