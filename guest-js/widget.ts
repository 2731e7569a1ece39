/**
 * `<ksync-pair>`: the whole dialogue of pairing two devices, as one element. `<ksync-devices>`: the devices of the group, what
 * happened to them, and what to do if one is lost. `<ksync-kit>`: making a recovery kit, and coming back by one. Importing this module
 * defines all three.
 *
 * @packageDocumentation
 */
import { KsyncDevices } from "./widget/devices.js";
import { KsyncKit } from "./widget/kit.js";
import { KsyncPair } from "./widget/element.js";

export { KsyncDevices } from "./widget/devices.js";
export { KsyncKit, type RecoveredDetail } from "./widget/kit.js";
export { KsyncPair, type PairedDetail } from "./widget/element.js";

// A page may load two bundles that have them.
if (typeof customElements !== "undefined") {
  if (!customElements.get("ksync-pair")) customElements.define("ksync-pair", KsyncPair);
  if (!customElements.get("ksync-devices")) customElements.define("ksync-devices", KsyncDevices);
  if (!customElements.get("ksync-kit")) customElements.define("ksync-kit", KsyncKit);
}

declare global {
  interface HTMLElementTagNameMap {
    "ksync-pair": KsyncPair;
    "ksync-devices": KsyncDevices;
    "ksync-kit": KsyncKit;
  }
}
