import type { Arch } from "../../../src/config/arch.ts";
import { GivenOptions, type OptionName } from "../../../src/config/options.ts";
import type { VmConfig } from "../../../src/config/schema/vm.ts";
import { type ConfigWithWarnings, readVmConfig } from "../../../src/config/vm-config.ts";

/** Options as the argument parser hands them over. */
export type Options = Partial<Readonly<Record<OptionName, readonly string[]>>>;

export function given(options: Options): GivenOptions {
  return new GivenOptions(new Map(Object.entries(options) as [OptionName, readonly string[]][]));
}

/** The configuration of a VM with a kernel and the given options. */
export function read(options: Options = {}, arch: Arch = "x86_64"): ConfigWithWarnings {
  return readVmConfig(given({ kernel: ["k"], ...options }), arch);
}

export function configOf(options: Options = {}, arch: Arch = "x86_64"): VmConfig {
  return read(options, arch).config;
}

/** What `run` throws. */
export function thrown(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
