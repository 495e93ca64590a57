import { expect, test } from "bun:test";
import { Chardev } from "../../../../src/devices/chardev/chardev.ts";
import { libc } from "../../../../src/host/libc.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { makeNonBlocking, receive, send, socketPair } from "../../../../src/host/unix-socket.ts";
import { ThreadControl } from "../../../../src/threads/control.ts";
import { FuzzLoop } from "../../../fuzz/support/fuzz-loop.ts";
import { chardevWiring } from "./rig.ts";

test("input that a device wanted and has no room for any more is left alone until it has", () => {
  const [ours, theirs] = socketPair();
  for (const fd of [ours, theirs]) makeNonBlocking(fd);
  const inputFd = libc.dup(ours);
  const loop = new FuzzLoop(new ThreadControl(mapAnonymous(ThreadControl.size)));
  const chardev = new Chardev(loop, chardevWiring({ kind: "fixed", outputFd: ours, inputFd }));
  let hasRoom = true;
  let taken = "";
  chardev.feed({
    hasRoom: () => hasRoom,
    read: (fd) => {
      const bytes = receive(fd)?.bytes ?? new Uint8Array(0);
      taken += new TextDecoder().decode(bytes);
      return bytes.length;
    },
  });
  chardev.wake();
  hasRoom = false;
  send(theirs, new TextEncoder().encode("typed"));
  // Throws when the loop never comes to rest.
  loop.settle();
  expect(taken).toBe("");
  hasRoom = true;
  chardev.updateInput();
  loop.settle();
  expect(taken).toBe("typed");
  for (const fd of [ours, theirs, inputFd]) libc.close(fd);
});
