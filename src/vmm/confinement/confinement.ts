import type { VmConfig } from "../../config/schema/vm.ts";
import { checkLandlockRules } from "../../config/validate/platform.ts";
import type { Confinement } from "../control/vm-life.ts";
import type { ConfinedVmm, LandlockDomain } from "./landlock-domain.ts";

/** What Landlock leaves of the host. Only a VMM that is asked for it loads it. */
export class LandlockConfinement implements Confinement {
  readonly #vmm: ConfinedVmm;
  #domain: LandlockDomain | undefined;

  constructor(vmm: ConfinedVmm) {
    this.#vmm = vmm;
  }

  /** @throws ValidationError, and as `LandlockDomain.enter` */
  readonly enter = async (config: VmConfig): Promise<void> => {
    if (!config.landlock_enable) return;
    checkLandlockRules({ config });
    const { LandlockDomain } = await import("./landlock-domain.ts");
    this.#domain ??= new LandlockDomain(this.#vmm);
    await this.#domain.enter(config);
  };

  /** @throws LandlockPathError */
  readonly require = (config: VmConfig): void => this.#domain?.require(config);
}
