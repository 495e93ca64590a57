import type { VmConfig } from "../../config/schema/vm.ts";
import { consoleDevice } from "../../devices/virtio/console/device.ts";
import type { PciBuilder } from "./builder.ts";

export const CONSOLE_ID = "__console";

/** Places the virtio console, unless it is off. */
export function placeConsole(builder: PciBuilder, config: VmConfig["console"]): void {
  const { consoles } = builder.resources;
  if (consoles.console === undefined) return;
  const size = consoles.consoleSize ?? { columns: 0, rows: 0 };
  const transport = builder.transport(builder.id(config.id ?? CONSOLE_ID), consoleDevice(size));
  builder.wiring = {
    kind: "console",
    slot: builder.slot(config),
    device: { transport, size, ...consoles.console },
  };
}
