import { ConfigLayout } from "../../../../src/devices/pci/config-layout.ts";
import { ConfigSpace, configSpaceState } from "../../../../src/devices/pci/config-space.ts";
import type { PciFunction } from "../../../../src/devices/pci/function.ts";
import type { PciSegment } from "../../../../src/devices/pci/segment.ts";
import { type BlockRef, blockAt } from "../../../../src/threads/block-ref.ts";

export const BAR_BYTES = 0x1000;

/** Functions with one BAR each, seen from one thread. */
export function moverFunctions(segment: PciSegment, states: readonly BlockRef[], base: number): ConfigSpace[] {
  return states.map((state, i) => {
    const ids = { vendor: 1, device: 1, subsystemVendor: 0, subsystem: 0, revision: 0, baseClass: 8, subclass: 0x80 };
    const layout = new ConfigLayout(ids);
    layout.addBar({ index: 0, kind: "memory32", size: BAR_BYTES, address: base + i * BAR_BYTES });
    const config = new ConfigSpace(layout, configSpaceState.at(blockAt(state)), segment);
    const fn: PciFunction = {
      bars: config.bars,
      readConfig: (offset, size) => config.read(offset, size),
      writeConfig: (offset, size, value) => config.write(offset, size, value),
      readBar: () => undefined,
      writeBar: () => undefined,
    };
    segment.add(i, fn);
    return config;
  });
}
