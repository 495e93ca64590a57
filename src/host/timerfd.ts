import { check, libc } from "./libc.ts";
import { scratch } from "./scratch.ts";
import { nested, struct, u64 } from "./struct.ts";

const CLOCK_MONOTONIC = 1;
const TFD_NONBLOCK = 0o4000;
const TFD_CLOEXEC = 0o2000000;
const TFD_TIMER_ABSTIME = 1;

const timespec = struct("timespec", { tv_sec: u64, tv_nsec: u64 });
/** struct itimerspec (timerfd_settime(2)). */
export const itimerspec = struct("itimerspec", { it_interval: nested(timespec), it_value: nested(timespec) });

/** Further away than anybody waits: what is later is taken for this. */
const LONGEST_NS = 1e18;

/** A new non-blocking, close-on-exec timer of CLOCK_MONOTONIC, which is not set. It becomes readable when it expires. @throws SysError */
export function createTimerFd(): number {
  return check(libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create");
}

/**
 * Makes a timer expire once, at a time of `monotonicNs`, instead of whatever it was set to. What has passed expires at once.
 * @throws SysError
 */
export function setTimerFd(fd: number, atNs: number): void {
  const block = scratch();
  block.u8.fill(0, 0, itimerspec.size);
  // A time of zero would stop the timer.
  const at = Math.max(1, Math.min(Math.ceil(atNs), LONGEST_NS));
  const { it_value } = itimerspec.at(block);
  it_value.tv_sec = Math.floor(at / 1e9);
  it_value.tv_nsec = at % 1e9;
  check(libc.timerfd_settime(fd, TFD_TIMER_ABSTIME, block.address, 0), "timerfd_settime");
}
