/** What a guest says of its own end through pvpanic. */
export type PanicEvent = "panic" | "crash_loaded" | "unknown_event";

/** What a thread tells the main one, of itself or of what the guest did to a device, as plain data. */
export type GuestNotice =
  /** The thread has set itself up: from now on it serves its queues. */
  | { readonly kind: "serving" }
  /** The thread does not serve that device any more, as it was asked to. */
  | { readonly kind: "left"; readonly id: string }
  | { readonly kind: "virtio-device"; readonly event: "activated" | "reset"; readonly id: string }
  /** A device asks for the whole machine to be reset, from a thread that runs no vCPU. */
  | { readonly kind: "reset"; readonly id: string }
  | { readonly kind: "panic"; readonly event: PanicEvent }
  /** The guest gave up the device in a slot of PCI segment 0, which is gone for it. */
  | { readonly kind: "ejected"; readonly slot: number }
  /** The guest has told new statistics of its memory, which somebody asked for. */
  | { readonly kind: "statistics"; readonly id: string };

/** Told on the thread where it happens; must be quick and must not throw. */
export type NoticeListener = (notice: GuestNotice) => void;

/** For threads on which nothing happens that anybody wants to know. */
export const ignoreNotices: NoticeListener = () => undefined;
