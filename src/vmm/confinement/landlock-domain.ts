import { dirname } from "node:path";
import type { VmConfig } from "../../config/schema/vm.ts";
import { FsRight, type LandlockRule, landlockAbi, missingIn, restrictEveryThread } from "../../host/landlock.ts";
import { launcher } from "../../host/launcher/launcher.ts";
import { PROGRAM } from "../../host/own-program.ts";
import { logger } from "../../threads/log.ts";
import type { ThreadPool } from "../thread-pool.ts";
import { isAllowed, isSame, type Layer, layerOf, rightsOfLetters } from "./landlock-layer.ts";
import { type PathNeed, pathNeeds } from "./path-needs.ts";

const log = logger("landlock");

const LOOK = FsRight.READ_FILE | FsRight.READ_DIR;
/**
 * What every VMM opens once it runs: the runtime and the metrics read about this process, vCPUs are made to look like the host's.
 */
const OWN: readonly LandlockRule[] = [
  { path: "/proc/self", rights: LOOK, pinned: true },
  { path: "/proc/cpuinfo", rights: FsRight.READ_FILE, pinned: true },
];

/** A path outside of what this process may still open. */
export class LandlockPathError extends Error {
  override readonly name = "LandlockPathError";
  constructor({ option, path, rights }: PathNeed) {
    const access = (rights & ~rightsOfLetters("r")) === 0 ? "r" : "rw";
    super(
      `${option}: Landlock keeps this process from '${path}': ` +
        `allow it when the VM is created, with --landlock-rules path=${path},access=${access} (landlock_rules in the API)`,
    );
  }
}

/** The VMM that is to be confined. */
export interface ConfinedVmm {
  /** Path of the API's socket, which is removed at the end, if it has one. */
  readonly apiSocket: string | undefined;
  readonly threads: ThreadPool;
}

/** The Landlock domains of this process, which only ever become narrower. */
export class LandlockDomain {
  readonly #vmm: ConfinedVmm;
  readonly #layers: Layer[] = [];

  constructor(vmm: ConfinedVmm) {
    this.#vmm = vmm;
  }

  /**
   * Restricts the process to what a configuration needs and its rules allow. To do so again with the same rules changes nothing.
   * @throws LandlockError, LandlockPathError, SysError, EveryThreadError
   */
  async enter(config: VmConfig): Promise<void> {
    const rules = this.#rules(config);
    const layer = layerOf(rules);
    const last = this.#layers.at(-1);
    if (last !== undefined && isSame(layer, last)) return;
    this.require(config);
    const { apiSocket, threads } = this.#vmm;
    // Those of an earlier VM may be confined so far that they cannot confine themselves further.
    await threads.endAll();
    const missing = missingIn(landlockAbi());
    if (missing.length > 0)
      log.warn(`the Landlock of this host's kernel does not know how ${missing.join(", nor how ")}`);
    // The launcher is outside of the domain, and so is what it starts, which this process ends by a signal.
    restrictEveryThread(rules, {
      denyTcp: apiSocket === undefined,
      denySignals: launcher() === undefined,
    });
    this.#layers.push(layer);
    log.info(`the VMM can open what ${rules.length} rules of Landlock allow, and nothing else`);
  }

  /** Says by name what of a configuration this process may not open any more. @throws LandlockPathError */
  require(config: VmConfig): void {
    for (const layer of this.#layers)
      for (const need of pathNeeds(config)) if (!isAllowed(layer, need)) throw new LandlockPathError(need);
  }

  #rules(config: VmConfig): LandlockRule[] {
    const { apiSocket } = this.#vmm;
    return [
      ...OWN,
      // Where Bun runs the sources it reads them when they are needed.
      ...PROGRAM.map((main) => ({ path: dirname(dirname(main)), rights: LOOK })),
      ...(apiSocket === undefined ? [] : [{ path: dirname(apiSocket), rights: FsRight.REMOVE_FILE }]),
      ...pathNeeds(config),
      ...(config.landlock_rules ?? []).map(({ path, access }) => ({ path, rights: rightsOfLetters(access) })),
    ];
  }
}
