import { SysError } from "./errno.ts";
import { _IOR, _IOW } from "./ioctl.ts";
import { check, errno, libc } from "./libc.ts";
import { cString, scratch } from "./scratch.ts";
import { makeTerminalRaw } from "./tty.ts";

/** asm-generic/ioctls.h */
const TIOCGPTN = _IOR(0x54, 0x30, 4);
const TIOCSPTLCK = _IOW(0x54, 0x31, 4);
const TIOCGPTPEER = 0x5441;
const O_RDWR_NOCTTY = 0o402;
/** O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK. */
const MASTER_FLAGS = 0o2004402;
const MULTIPLEXERS = ["/dev/pts/ptmx", "/dev/ptmx"];

/** A pseudo-terminal: our end, non-blocking and close-on-exec, and the path under which programs open theirs. */
export interface Pty {
  readonly masterFd: number;
  readonly path: string;
}

/** A new pseudo-terminal, raw. Until a program opens it, it hangs as it does after the last one has closed it. @throws SysError */
export function openPty(): Pty {
  const masterFd = openMultiplexer();
  try {
    const { view, address } = scratch();
    view.setInt32(0, 0, true);
    check(libc.ioctl(masterFd, TIOCSPTLCK, address), "unlock the pseudo-terminal");
    check(libc.ioctl(masterFd, TIOCGPTN, address), "ask for the pseudo-terminal's number");
    const path = `/dev/pts/${view.getUint32(0, true)}`;
    makeTerminalRaw(masterFd);
    libc.close(check(libc.ioctl(masterFd, TIOCGPTPEER, O_RDWR_NOCTTY), `open ${path}`));
    return { masterFd, path };
  } catch (error) {
    libc.close(masterFd);
    throw error;
  }
}

function openMultiplexer(): number {
  for (const path of MULTIPLEXERS) {
    const fd = libc.open(cString(path), MASTER_FLAGS, 0);
    if (fd >= 0) return fd;
  }
  throw new SysError(errno(), `open ${MULTIPLEXERS.join(" or ")}`);
}
