import type { NoticeListener } from "../devices/notices.ts";
import type { EventListener } from "./control/events.ts";

/** Reports to the event monitor what the guest does to its devices. */
export function eventsOf(onEvent: EventListener): NoticeListener {
  return (notice) => {
    switch (notice.kind) {
      case "virtio-device":
        onEvent({ source: "virtio-device", event: notice.event, properties: { id: notice.id } });
        break;
      case "panic":
        onEvent({ source: "guest", event: "panic", properties: { event: notice.event } });
        break;
    }
  };
}
