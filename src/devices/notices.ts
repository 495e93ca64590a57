/** What a guest says of its own end through pvpanic. */
export type PanicEvent = "panic" | "crash_loaded" | "unknown_event";

/** What the guest did to a device that somebody outside the VM may want to know, as plain data. */
export type GuestNotice =
  | { readonly kind: "virtio-device"; readonly event: "activated" | "reset"; readonly id: string }
  /** A device asks for the whole machine to be reset, from a thread that runs no vCPU. */
  | { readonly kind: "reset"; readonly id: string }
  | { readonly kind: "panic"; readonly event: PanicEvent };

/** Told on the thread where it happens; must be quick and must not throw. */
export type NoticeListener = (notice: GuestNotice) => void;

/** For threads on which nothing happens that anybody wants to know. */
export const ignoreNotices: NoticeListener = () => undefined;
