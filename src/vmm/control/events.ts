/** Who reports an event. */
export type EventSource = "vmm" | "vm" | "virtio-device" | "vdpa" | "guest";

/** Events of the VMM and of the VM without further properties, each with its source. */
export interface PlainEvents {
  readonly vmm: "starting" | "shutdown";
  readonly vm:
    | "booting"
    | "booted"
    | "shutdown"
    | "deleted"
    | "rebooting"
    | "rebooted"
    | "pausing"
    | "paused"
    | "resuming"
    | "resumed"
    | "resizing"
    | "resized"
    | "snapshotting"
    | "snapshotted"
    | "restoring"
    | "restored"
    | "coredumping"
    | "migration-started"
    | "migration-finished"
    | "migration-failed"
    | "postcopy-migration-completed"
    | "migration-receive-ready"
    | "migration-receive-started"
    | "migration-receive-finished"
    | "migration-receive-failed";
}

/** Something that happened, as the event monitor reports it. */
export type VmmEvent =
  | { readonly source: "vmm"; readonly event: PlainEvents["vmm"] }
  | { readonly source: "vm"; readonly event: PlainEvents["vm"] }
  | {
      readonly source: "vm";
      readonly event: "device-removed";
      readonly properties: { readonly id: string; readonly bdf: string };
    }
  | {
      readonly source: "vm";
      readonly event: "migration-memory-iteration";
      readonly properties: { readonly id: string };
    }
  | {
      readonly source: "virtio-device" | "vdpa";
      readonly event: "activated" | "reset";
      readonly properties: { readonly id: string };
    }
  | {
      readonly source: "guest";
      readonly event: "panic";
      readonly properties: { readonly event: "panic" | "crash_loaded" | "unknown_event" };
    };

/** Told of every event in the order in which they happen. Must not throw. */
export type EventListener = (event: VmmEvent) => void;
