import { tmpdir } from "node:os";
import { join } from "node:path";
import { Chardev } from "../../../src/devices/chardev/chardev.ts";
import { OutputRing } from "../../../src/devices/chardev/output-ring.ts";
import type { HostEnd } from "../../../src/devices/chardev/wiring.ts";
import { SysError } from "../../../src/host/errno.ts";
import { drainInotify, watchOpens } from "../../../src/host/inotify.ts";
import { check, errno, libc } from "../../../src/host/libc.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { openPty } from "../../../src/host/pty.ts";
import { cString } from "../../../src/host/scratch.ts";
import { setTerminalSettings, terminalSettings, termios } from "../../../src/host/tty.ts";
import { accept, connectTo, listenAt, makeNonBlocking } from "../../../src/host/unix-socket.ts";
import { blockAt } from "../../../src/threads/block-ref.ts";
import { ThreadControl } from "../../../src/threads/control.ts";
import { ringWiring } from "../../unit/devices/chardev/rig.ts";
import type { Input } from "../engine/input.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { FuzzLoop } from "../support/fuzz-loop.ts";
import { mapGuarded } from "../support/guarded-memory.ts";
import { tolerate } from "../support/tolerate.ts";

const MOST_ACTS = 48;
const MOST_PEERS = 4;
const BUFFER_BYTES = 0x1_0000;
/** A reader that stalls counts as gone at once, or never. */
const SOON_NS = 1;
const NEVER_NS = 1e15;
/** O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC. */
const OPEN_TERMINAL = 0o2004402;
const CONNECTIONS = 16;
/** Of an output ring, what is before its bytes. */
const HEAD_BYTES = 256;
/** Of a terminal's settings, the flags. */
const FLAG_BYTES = termios.offsets.c_line;
/** asm-generic/ioctls.h: stop and go on, drop what waits, and let nobody else open the terminal. */
const TerminalRequest = { FLOW: 0x540a, FLUSH: 0x540b, EXCLUSIVE: 0x540c, SHARED: 0x540d, BOTH: 2, GO_ON: 1 } as const;

/** An end of a console, and the programs of the host that come to it. */
interface End {
  readonly end: HostEnd;
  /** A program comes. @returns its descriptor, non-blocking */
  come(): number;
  /** After a run: as it was before. */
  clean(): void;
  /** Something else that only programs at this kind of end can do. */
  annoy(fd: number, input: Input): void;
}

export const target: FuzzTarget = {
  what: "consoles on sockets and pseudo-terminals, whose programs come, go, stall and change the terminal",
  maxBytes: 512,
  seeds: () => [0, 1].map((kind) => Uint8Array.of(kind, 1, 0, 0, 2, 0, 9, 9, 9, 3, 0, 4, 0, 40, 1, 3, 0, 1, 0)),
  open: () => {
    const ends = [socketEnd(join(tmpdir(), "console")), terminalEnd()] as const;
    const output = ringWiring();
    const ring = new OutputRing(output);
    const ringHead = blockAt({ address: output.block.address, size: HEAD_BYTES }).u8;
    const loop = new FuzzLoop(new ThreadControl(mapAnonymous(ThreadControl.size)));
    const buffer = mapGuarded(BUFFER_BYTES);
    return (input) => {
      const { end, come, annoy, clean } = input.pick(ends);
      const peers: number[] = [];
      let room = 0;
      ringHead.fill(0);
      ring.reset();
      loop.renew();
      const chardev = new Chardev(loop, { name: "fuzz", output, end }, input.bool() ? SOON_NS : NEVER_NS);
      chardev.feed({
        hasRoom: () => room > 0,
        read: (fd) => {
          if (room <= 0) throw new Error("input that there is no room for");
          const bytes = libc.read(fd, buffer, Math.min(room, BUFFER_BYTES));
          if (bytes > 0) room -= bytes;
          return bytes < 0 ? -errno() : bytes;
        },
      });
      let left = 0;
      const write = (): void => {
        while (left > 0) {
          const taken = chardev.take(buffer, Math.min(left, BUFFER_BYTES));
          left -= taken;
          if (taken < BUFFER_BYTES) break;
        }
        chardev.pump();
      };
      chardev.writeFrom(write);
      chardev.wake();
      for (let acts = 0; acts < MOST_ACTS && !input.isEmpty; acts++) {
        const peer = peers[input.below(MOST_PEERS)];
        switch (input.below(12)) {
          case 0:
            if (peers.length < MOST_PEERS) peers.push(come());
            break;
          case 1:
            if (peer === undefined) break;
            libc.close(peer);
            peers.splice(peers.indexOf(peer), 1);
            break;
          case 2:
            if (peer !== undefined) libc.write(peer, buffer, 1 + input.below(512));
            break;
          case 3:
            if (peer !== undefined) libc.read(peer, buffer, 1 + input.u16());
            break;
          case 4:
            if (peer !== undefined) annoy(peer, input);
            break;
          case 5:
          case 6:
            left += 1 + input.u16();
            write();
            break;
          case 7:
            ring.write(input.u8());
            break;
          case 8:
            room = input.u16();
            chardev.updateInput();
            break;
          case 9:
            chardev.pause();
            chardev.wake();
            break;
          case 10:
            // The buffers that were there for input are taken back.
            room = 0;
            break;
          default:
            chardev.pump();
        }
        if (input.below(3) > 0) loop.settle();
      }
      for (const fd of peers) libc.close(fd);
      loop.settle();
      chardev.pause();
      loop.settle();
      chardev.close();
      if (ring.clientFd >= 0) libc.close(ring.clientFd);
      clean();
    };
  },
};

function socketEnd(path: string): End {
  const listenFd = listenAt(path, CONNECTIONS);
  return {
    end: { kind: "socket", listenFd },
    come: () => {
      const fd = connectTo(path);
      makeNonBlocking(fd);
      return fd;
    },
    annoy: (fd, input) => {
      libc.shutdown(fd, input.below(3));
    },
    clean: () => {
      for (let fd = accept(listenFd); fd !== undefined; fd = accept(listenFd)) libc.close(fd);
    },
  };
}

function terminalEnd(): End {
  const { masterFd, path } = openPty();
  const opensFd = watchOpens(path);
  const come = (): number => check(libc.open(cString(path), OPEN_TERMINAL, 0), `open ${path}`);
  const first = come();
  const settings = terminalSettings(first);
  libc.close(first);
  return {
    end: { kind: "pty", masterFd, opensFd },
    come,
    annoy: (fd, input) => {
      switch (input.below(4)) {
        case 0:
          libc.ioctl(fd, TerminalRequest.FLOW, input.below(4));
          break;
        case 1:
          libc.ioctl(fd, TerminalRequest.FLUSH, input.below(3));
          break;
        case 2:
          libc.ioctl(fd, TerminalRequest.EXCLUSIVE, 0);
          break;
        default: {
          const other = settings.slice();
          other.set(input.take(input.below(1 + FLAG_BYTES)));
          // Some are none for the C library, and some are not taken.
          tolerate([SysError], () => setTerminalSettings(fd, other));
        }
      }
    },
    clean: () => {
      const fd = come();
      libc.ioctl(fd, TerminalRequest.SHARED, 0);
      libc.ioctl(fd, TerminalRequest.FLOW, TerminalRequest.GO_ON);
      setTerminalSettings(fd, settings);
      for (const each of [fd, masterFd]) libc.ioctl(each, TerminalRequest.FLUSH, TerminalRequest.BOTH);
      libc.close(fd);
      drainInotify(opensFd);
    },
  };
}
