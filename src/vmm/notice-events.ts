import type { EventListener } from "./control/events.ts";
import type { VmNotice } from "./vm.ts";

/** Reports to the event monitor what becomes of a VM's devices. */
export function eventsOf(onEvent: EventListener): (notice: VmNotice) => void {
  return (notice) => {
    switch (notice.kind) {
      case "virtio-device":
        onEvent({ source: "virtio-device", event: notice.event, properties: { id: notice.id } });
        break;
      case "device-removed": {
        const { id, bdf } = notice;
        onEvent({ source: "vm", event: "device-removed", properties: { id, bdf } });
        break;
      }
      case "panic":
        onEvent({ source: "guest", event: "panic", properties: { event: notice.event } });
        break;
    }
  };
}
