import { check, libc } from "./libc.ts";
import { scratch } from "./scratch.ts";
import { bytes, struct, u8, u16, u32 } from "./struct.ts";

/** struct termios of the C library on 64-bit Linux (bits/termios-struct.h). */
export const termios = struct("termios", {
  c_iflag: u32,
  c_oflag: u32,
  c_cflag: u32,
  c_lflag: u32,
  c_line: u8,
  c_cc: bytes(32),
  c_ispeed: u32,
  c_ospeed: u32,
});

/** struct winsize (asm-generic/termios.h). */
export const winsize = struct("winsize", { ws_row: u16, ws_col: u16, ws_xpixel: u16, ws_ypixel: u16 });

const TIOCGWINSZ = 0x5413;
const TIOCSCTTY = 0x540e;
const TCSANOW = 0;
/** termios(3), bits/termios-*.h */
const IFLAGS = 0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000;
const OPOST = 0o1;
const LFLAGS = 0o10 | 0o100 | 0o2 | 0o1 | 0o100000;
const CSIZE_PARENB = 0o60 | 0o400;
const CS8 = 0o60;
const VTIME = 5;
const VMIN = 6;

/** Whether `fd` is a terminal. */
export function isTerminal(fd: number): boolean {
  return libc.isatty(fd) === 1;
}

/** The terminal's size in characters; undefined when `fd` is no terminal. */
export function terminalSize(fd: number): { readonly columns: number; readonly rows: number } | undefined {
  const block = scratch();
  if (libc.ioctl(fd, TIOCGWINSZ, block.address) < 0) return undefined;
  const { ws_col: columns, ws_row: rows } = winsize.at(block);
  return { columns, rows };
}

/**
 * Makes a terminal the controlling one of the calling process, which must lead a session that has none.
 * @param fd the terminal, or the master of a pseudo-terminal, which stands for the other end without opening it
 * @throws SysError
 */
export function takeControllingTerminal(fd: number): void {
  check(libc.ioctl(fd, TIOCSCTTY, 0), `take terminal ${fd}`);
}

/** A terminal's settings, opaque, to be put back. @throws SysError when `fd` is no terminal */
export function terminalSettings(fd: number): Uint8Array {
  const block = scratch();
  // The padding is not written: settings that are compared must not differ in what was there before.
  block.u8.fill(0, 0, termios.size);
  check(libc.tcgetattr(fd, block.address), `read the settings of terminal ${fd}`);
  return block.u8.slice(0, termios.size);
}

/** Puts settings back at once. @throws SysError */
export function setTerminalSettings(fd: number, settings: Uint8Array): void {
  const block = scratch();
  block.u8.set(settings);
  check(libc.tcsetattr(fd, TCSANOW, block.address), `set the settings of terminal ${fd}`);
}

/** Every key goes to the guest as it is typed and every byte of the guest to the screen: cfmakeraw(3). @throws SysError */
export function makeTerminalRaw(fd: number): void {
  const block = scratch();
  check(libc.tcgetattr(fd, block.address), `read the settings of terminal ${fd}`);
  const settings = termios.at(block);
  settings.c_iflag &= ~IFLAGS;
  settings.c_oflag &= ~OPOST;
  settings.c_lflag &= ~LFLAGS;
  settings.c_cflag = (settings.c_cflag & ~CSIZE_PARENB) | CS8;
  settings.c_cc[VMIN] = 1;
  settings.c_cc[VTIME] = 0;
  check(libc.tcsetattr(fd, TCSANOW, block.address), `set the settings of terminal ${fd}`);
}
