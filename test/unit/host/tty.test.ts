import { afterAll, beforeAll, expect, spyOn, test } from "bun:test";
import { libc } from "../../../src/host/libc.ts";
import { openPty } from "../../../src/host/pty.ts";
import { cString, scratch } from "../../../src/host/scratch.ts";
import { makeTerminalRaw, setTerminalSettings, terminalSettings } from "../../../src/host/tty.ts";

/** O_RDWR | O_NOCTTY | O_CLOEXEC. */
const OPEN_TERMINAL = 0o2000402;
/** OPOST of termios(3), in c_oflag, the second of 32-bit flags. */
const OPOST = 1;

let masterFd = -1;
let fd = -1;
beforeAll(() => {
  const pty = openPty();
  masterFd = pty.masterFd;
  fd = libc.open(cString(pty.path), OPEN_TERMINAL, 0);
});
afterAll(() => {
  for (const each of [fd, masterFd]) libc.close(each);
});

test("a terminal's settings are put back as they were", () => {
  const cooked = terminalSettings(fd);
  cooked[4] = (cooked[4] ?? 0) | OPOST;
  setTerminalSettings(fd, cooked);
  makeTerminalRaw(fd);
  const raw = terminalSettings(fd);
  expect((raw[4] ?? 0) & OPOST).toBe(0);
  setTerminalSettings(fd, cooked);
  expect(terminalSettings(fd)).toEqual(cooked);
});

test("settings that are the same are equal in every byte, whatever was in memory before", () => {
  scratch().u8.fill(0x5a, 0, 512);
  const one = terminalSettings(fd);
  scratch().u8.fill(0xa5, 0, 512);
  expect(terminalSettings(fd)).toEqual(one);
});

test("to read a terminal's settings takes no new memory that stays mapped", () => {
  terminalSettings(fd);
  using mmap = spyOn(libc, "mmap");
  terminalSettings(fd);
  expect(mmap).toHaveBeenCalledTimes(0);
});
