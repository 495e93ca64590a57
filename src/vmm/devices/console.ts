import type { VmConfig } from "../../config/schema/vm.ts";
import { consoleDevice } from "../../devices/virtio/console/device.ts";
import { terminalSize } from "../../host/tty.ts";
import type { PciBuilder } from "./builder.ts";

export const CONSOLE_ID = "__console";

/** Places the virtio console, when it has somewhere to go. */
export function placeConsole(builder: PciBuilder, config: VmConfig["console"]): void {
  const { console: ends } = builder.resources;
  if (ends === undefined) return;
  const { inputFd, outputFd } = ends;
  const size = (outputFd === undefined ? undefined : terminalSize(outputFd)) ?? { columns: 0, rows: 0 };
  const transport = builder.transport(builder.id(config.id ?? CONSOLE_ID), consoleDevice(size));
  builder.wiring = {
    kind: "console",
    slot: builder.slot(config),
    device: { transport, size, inputFd, outputFd },
  };
}
