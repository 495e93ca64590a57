import { afterEach, describe, expect, test } from "bun:test";
import { BlockFeature, BlockRequest, BlockStatus } from "../../../../../src/devices/virtio/block/protocol.ts";
import { Errno } from "../../../../../src/host/errno.ts";
import { ThreadRequest } from "../../../../../src/threads/control.ts";
import { DATA, Guest, image, RecordingDisk, SECTOR, STATUSES, serve, settings } from "./harness.ts";

const { IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES } = BlockRequest;
const { OK, IOERR, UNSUPP } = BlockStatus;
const SECTORS = 1000;

let guest: Guest;
afterEach(() => guest.close());

/** Starts a guest, lets it make requests and gives what it got for each: status and length of the used element. */
function outcome(
  make: (guest: Guest) => void,
  disk = new RecordingDisk(),
  of = settings(image(SECTORS)),
): [number, number][] {
  guest = new Guest(of);
  const results: [number, number][] = [];
  const collect = (): void => {
    for (const [i, { written }] of guest.driver.take().entries())
      results.push([guest.memory.readU8(STATUSES + i), written]);
  };
  serve(
    guest,
    disk,
    () => {
      guest.start();
      make(guest);
    },
    collect,
  );
  return results;
}

const data = (length: number, writable: boolean, address = DATA) => ({ address, length, writable });

describe("requests", () => {
  test("read and write: sectors, lengths, segments, used lengths", () => {
    const disk = new RecordingDisk();
    const results = outcome((guest) => {
      guest.request(IN, 2, data(1024, true));
      guest.request(IN, 3, data(100, true), data(412, true, DATA + 5000), data(512, true, DATA + 9000));
      guest.request(OUT, SECTORS - 1, data(512, false));
      guest.request(OUT, 4, data(500, false), data(1036, false, DATA + 4096));
    }, disk);
    expect(results).toEqual([
      [OK, 1025],
      [OK, 1025],
      [OK, 1],
      [OK, 1],
    ]);
    expect(disk.asked).toEqual([
      "read 1024 1024 1024",
      "read 1536 1024 100+412+512",
      `write ${(SECTORS - 1) * SECTOR} 512 512`,
      "write 2048 1536 500+1036",
    ]);
  });

  test("framing is the driver's choice: header and data in one, data and status in one", () => {
    const disk = new RecordingDisk();
    guest = new Guest(settings(image(SECTORS)));
    serve(
      guest,
      disk,
      () => {
        guest.start();
        guest.memory.writeU32(DATA, OUT);
        guest.memory.writeU32(DATA + 4, 0);
        guest.memory.writeU32(DATA + 8, 7);
        guest.memory.writeU32(DATA + 12, 0);
        guest.driver.add(data(16 + 512, false), data(1, true, STATUSES));
        guest.memory.writeU32(DATA + 4096, IN);
        guest.memory.writeU32(DATA + 4104, 9);
        guest.driver.add(data(9, false, DATA + 4096), data(7, false, DATA + 4105), data(513, true, DATA + 8192));
      },
      () => {
        expect(guest.driver.take().map(({ written }) => written)).toEqual([1, 513]);
        expect(guest.memory.readU8(DATA + 8192 + 512)).toBe(OK);
      },
    );
    expect(disk.asked).toEqual(["write 3584 512 512", "read 4608 512 512"]);
  });

  test("outside the disk or no whole sectors: IOERR", () => {
    const disk = new RecordingDisk();
    const results = outcome((guest) => {
      guest.request(IN, SECTORS, data(512, true));
      guest.request(IN, SECTORS - 1, data(1024, true));
      guest.request(OUT, 2 ** 53, data(512, false));
      guest.request(OUT, 2 ** 63, data(512, false));
      guest.request(IN, 0, data(511, true));
      guest.request(OUT, 0, data(513, false));
    }, disk);
    expect(results).toEqual(new Array(6).fill([IOERR, 1]));
    expect(disk.asked).toEqual([]);
  });

  test("no data at all is fine", () => {
    expect(
      outcome((guest) => {
        guest.request(IN, 0);
        guest.request(OUT, SECTORS);
      }),
    ).toEqual([
      [OK, 1],
      [OK, 1],
    ]);
  });

  test("flush, and types that are not known", () => {
    const disk = new RecordingDisk();
    const results = outcome((guest) => {
      guest.request(FLUSH, 0);
      guest.request(2, 0, data(512, true));
      guest.request(0xffff_ffff, 0);
      guest.request(14, 0, data(16, false));
    }, disk);
    expect(results).toEqual([
      [OK, 1],
      [UNSUPP, 1],
      [UNSUPP, 1],
      [UNSUPP, 1],
    ]);
    expect(disk.asked).toEqual(["flush"]);
  });

  test("get-id gives the serial where it fits", () => {
    const results = outcome((guest) => {
      guest.request(GET_ID, 0, data(20, true));
      guest.request(GET_ID, 0, data(64, true, DATA + 64));
      guest.request(GET_ID, 0, data(19, true, DATA + 256));
      guest.request(GET_ID, 0, data(7, true, DATA + 512), data(13, true, DATA + 1024));
    });
    expect(results).toEqual([
      [OK, 21],
      [OK, 21],
      [IOERR, 1],
      [OK, 21],
    ]);
    const text = (at: number, length: number) => new TextDecoder().decode(guest.read(at, length));
    expect(text(DATA, 20)).toBe("serial-of-20-bytes..");
    expect(text(DATA + 64, 24)).toBe("serial-of-20-bytes..\0\0\0\0");
    expect(text(DATA + 512, 7) + text(DATA + 1024, 13)).toBe("serial-of-20-bytes..");
  });

  test("discard and write-zeroes: one segment, known flags, inside the disk", () => {
    const disk = new RecordingDisk();
    const results = outcome((guest) => {
      guest.clear(DISCARD, 8, 16, 0);
      guest.clear(WRITE_ZEROES, 9, 1, 0);
      guest.clear(WRITE_ZEROES, 10, SECTORS - 10, 1);
      guest.clear(DISCARD, 8, 16, 1);
      guest.clear(WRITE_ZEROES, 8, 16, 2);
      guest.clear(WRITE_ZEROES, SECTORS, 1, 0);
      guest.clear(DISCARD, 1, 0xffff_ffff, 0);
      guest.clear(DISCARD, 5, 0, 0);
      guest.request(DISCARD, 0, data(32, false));
      guest.request(WRITE_ZEROES, 0, data(8, false));
      guest.request(WRITE_ZEROES, 0);
    }, disk);
    expect(results).toEqual([
      [OK, 1],
      [OK, 1],
      [OK, 1],
      [UNSUPP, 1],
      [UNSUPP, 1],
      [IOERR, 1],
      [IOERR, 1],
      [OK, 1],
      [IOERR, 1],
      [IOERR, 1],
      [IOERR, 1],
    ]);
    expect(disk.asked).toEqual(["discard 4096 8192", "zero 4608 512 false", `zero 5120 ${(SECTORS - 10) * 512} true`]);
  });

  test("what is not offered is not supported: no sparse operations, no discard with sparse=off", () => {
    const make = (guest: Guest): void => {
      guest.clear(DISCARD, 8, 16, 0);
      guest.clear(WRITE_ZEROES, 8, 16, 1);
    };
    expect(outcome(make, new RecordingDisk(), settings(image(SECTORS, { canBeSparse: false })))).toEqual([
      [UNSUPP, 1],
      [UNSUPP, 1],
    ]);
    guest.close();
    const disk = new RecordingDisk();
    expect(outcome(make, disk, settings(image(SECTORS), { sparse: false }))).toEqual([
      [UNSUPP, 1],
      [OK, 1],
    ]);
    expect(disk.asked).toEqual(["zero 4096 8192 false"]);
  });

  test("a read-only disk only reads", () => {
    const disk = new RecordingDisk();
    const results = outcome(
      (guest) => {
        guest.request(IN, 0, data(512, true));
        guest.request(OUT, 0, data(512, false));
        guest.request(FLUSH, 0);
        guest.request(GET_ID, 0, data(20, true));
        guest.clear(DISCARD, 8, 16, 0);
        guest.clear(WRITE_ZEROES, 8, 16, 0);
        guest.request(99, 0);
      },
      disk,
      settings(image(SECTORS, { readonly: true })),
    );
    expect(results.map(([status]) => status)).toEqual([OK, IOERR, OK, OK, IOERR, IOERR, IOERR]);
    expect(disk.asked).toEqual(["read 0 512 512", "flush"]);
  });

  test("the first sector of an image of unknown format is not written", () => {
    const disk = new RecordingDisk();
    const results = outcome(
      (guest) => {
        guest.request(OUT, 0, data(512, false));
        guest.clear(DISCARD, 0, 1, 0);
        guest.clear(WRITE_ZEROES, 0, 1, 0);
        guest.request(OUT, 1, data(512, false));
        guest.request(IN, 0, data(512, true));
      },
      disk,
      settings(image(SECTORS), { protectFirstSector: true }),
    );
    expect(results.map(([status]) => status)).toEqual([IOERR, IOERR, IOERR, OK, OK]);
    expect(disk.asked).toEqual(["write 512 512 512", "read 0 512 512"]);
  });

  test("errors of the disk are IOERR with nothing but the status written", () => {
    const disk = new RecordingDisk();
    disk.errors = [Errno.EIO, 0, Errno.ENOSPC, Errno.EIO];
    const results = outcome((guest) => {
      guest.request(IN, 0, data(512, true));
      guest.request(IN, 0, data(512, true));
      guest.request(OUT, 0, data(512, false));
      guest.request(FLUSH, 0);
    }, disk);
    expect(results).toEqual([
      [IOERR, 1],
      [OK, 513],
      [IOERR, 1],
      [IOERR, 1],
    ]);
  });

  test("chains that are no request come back with nothing written", () => {
    const disk = new RecordingDisk();
    guest = new Guest(settings(image(SECTORS)));
    const header = data(16, false);
    const status = data(1, true, STATUSES);
    const readable = data(512, false, DATA + 512);
    const writable = data(512, true, DATA + 1024);
    const chains = [
      [OUT, data(15, false), status],
      [OUT, status],
      [IN, header],
      [IN, header, readable, writable, status],
      [OUT, header, readable, writable, status],
      [OUT, header, data(512, false, 0x7000_0000), status],
      [OUT, header, status, readable],
      [GET_ID, header, readable, writable],
      [DISCARD, header, readable, writable, status],
    ] as const;
    const written: number[] = [];
    serve(
      guest,
      disk,
      () => guest.start(),
      ...chains.flatMap(([type, ...buffers]) => [
        () => {
          guest.memory.writeU32(DATA, type);
          guest.driver.add(...buffers);
        },
        () => {
          written.push(...guest.driver.take().map((used) => used.written));
        },
      ]),
    );
    expect(written).toEqual(new Array(chains.length).fill(0));
    expect(disk.asked).toEqual([]);
    expect(guest.needsReset).toBe(false);
  });
});

describe("durability", () => {
  /** Runs a write and gives what the disk was asked for, before and after the driver saw it done. */
  function write(
    features: readonly number[],
    writeback: number,
    errors: readonly number[] = [],
  ): { asked: string[]; status: number; field: number } {
    guest = new Guest(settings(image(SECTORS)));
    const disk = new RecordingDisk();
    disk.errors = [...errors];
    let field = -1;
    serve(
      guest,
      disk,
      () => guest.start(features),
      () => {
        field = guest.shared.config[32] ?? -1;
        blockWriteback(writeback);
        guest.request(OUT, 0, data(512, false));
      },
      () => undefined,
    );
    return { asked: disk.asked, status: guest.memory.readU8(STATUSES), field };
  }
  const blockWriteback = (value: number): void => {
    guest.shared.config[32] = value;
  };
  const { FLUSH: FLUSH_BIT, CONFIG_WCE } = BlockFeature;

  test("with a write cache a write is done when it is in the host's", () => {
    expect(write([FLUSH_BIT, CONFIG_WCE], 1)).toEqual({ asked: ["write 0 512 512"], status: OK, field: 1 });
    guest.close();
    expect(write([FLUSH_BIT], 0)).toEqual({ asked: ["write 0 512 512"], status: OK, field: 1 });
  });

  test("without one it is done when it is durable", () => {
    const durable = { asked: ["write 0 512 512", "flush"], status: OK };
    expect(write([FLUSH_BIT, CONFIG_WCE], 0)).toEqual({ ...durable, field: 1 });
    guest.close();
    expect(write([], 1)).toEqual({ ...durable, field: 0 });
    guest.close();
    expect(write([CONFIG_WCE], 1)).toEqual({ ...durable, field: 0 });
  });

  test("without one, a write that cannot be made durable has failed, and one that failed is not flushed", () => {
    expect(write([], 1, [0, Errno.EIO]).status).toBe(IOERR);
    guest.close();
    expect(write([], 1, [Errno.EIO])).toEqual({ asked: ["write 0 512 512"], status: IOERR, field: 0 });
  });

  test("nothing is reported before the disk says so: write, its flush, and a flush that is asked for", () => {
    guest = new Guest(settings(image(SECTORS)));
    const disk = new RecordingDisk();
    disk.automatic = false;
    const seen: (number | string)[] = [];
    let waits = 0;
    disk.wait = (): void => {
      // Each wait of the device ends one step of the disk; what the driver sees is noted before.
      seen.push(guest.driver.take().length);
      disk.end();
      if (++waits > 50) throw new Error("the device waits for nothing");
    };
    serve(
      guest,
      disk,
      () => {
        guest.start([]);
        guest.request(OUT, 0, data(512, false));
      },
      () => {
        seen.push("written", guest.driver.take().length);
        guest.request(FLUSH, 0);
      },
      () => {
        seen.push("flushed", guest.driver.take().length);
      },
    );
    expect(disk.asked).toEqual(["write 0 512 512", "flush", "flush"]);
    expect(seen.filter((entry) => entry !== 0)).toEqual(["written", 1, "flushed", 1]);
  });
});

describe("the ring", () => {
  test("more requests than tags wait their turn", () => {
    guest = new Guest(settings(image(SECTORS)));
    const disk = new RecordingDisk(4);
    let done = 0;
    serve(
      guest,
      disk,
      () => {
        guest.start();
        for (let i = 0; i < 21; i++) guest.request(IN, i, data(512, true));
      },
      () => {
        done = guest.driver.take().length;
      },
    );
    expect(done).toBe(21);
    expect(disk.asked.length).toBe(21);
  });

  test("interrupts once for a batch, and with EVENT_IDX only when asked", () => {
    guest = new Guest(settings(image(SECTORS)), true);
    const interrupts: boolean[] = [];
    const step = (usedEvent: number) => () => {
      interrupts.push(guest.interrupted());
      guest.driver.take();
      guest.driver.setUsedEvent(usedEvent);
      guest.request(IN, 1, data(512, true));
      guest.request(IN, 1, data(512, true, DATA + 512));
    };
    serve(
      guest,
      new RecordingDisk(),
      () => guest.start(),
      step(1),
      step(100),
      step(5),
      () => {
        interrupts.push(guest.interrupted());
        expect(guest.driver.availEvent).toBe(6);
      },
    );
    expect(interrupts).toEqual([false, true, false, true]);
  });

  test("a corrupt ring stops the queue until a reset, and what is under way is finished silently", () => {
    guest = new Guest(settings(image(SECTORS)));
    const disk = new RecordingDisk();
    disk.automatic = false;
    let waits = 0;
    disk.wait = (block?: boolean): void => {
      if (block !== true) return;
      if (waits++ === 0) {
        guest.driver.setAvailable(5000);
        return;
      }
      disk.end();
    };
    const log: unknown[] = [];
    serve(
      guest,
      disk,
      () => {
        guest.start();
        guest.request(IN, 1, data(512, true));
      },
      () => {
        log.push(guest.needsReset, guest.driver.take().length, disk.underWay);
        guest.request(IN, 2, data(512, true));
      },
      () => {
        log.push(disk.asked.length);
        guest.reset();
      },
      () => {
        log.push(guest.isReset);
        disk.wait = (): void => disk.end();
        guest.start();
        guest.request(IN, 3, data(512, true));
      },
      () => {
        log.push(guest.driver.take().length, disk.asked.at(-1));
      },
    );
    expect(log).toEqual([true, 0, 0, 1, true, 1, "read 1536 512 512"]);
  });

  test("a head that is in flight already corrupts the ring", () => {
    guest = new Guest(settings(image(SECTORS)));
    const disk = new RecordingDisk();
    serve(
      guest,
      disk,
      () => {
        guest.start();
        guest.request(IN, 1, data(512, true));
        guest.driver.offer(0);
      },
      () => expect(guest.needsReset).toBe(true),
    );
    expect(disk.asked.length).toBe(1);
  });

  test("rings outside RAM ask for a reset", () => {
    guest = new Guest(settings(image(SECTORS)));
    serve(
      guest,
      new RecordingDisk(),
      () => {
        guest.start();
        guest.shared.state.queues[0]?.deviceArea.set([0x7000_0000, 0]);
      },
      () => expect(guest.needsReset).toBe(true),
    );
    expect(guest.needsReset).toBe(true);
  });

  test("a reset finishes what is under way before the queue goes back", () => {
    guest = new Guest(settings(image(SECTORS)));
    const disk = new RecordingDisk();
    disk.automatic = false;
    let resetAsked = false;
    disk.wait = (block?: boolean): void => {
      if (block !== true) return;
      if (!resetAsked) {
        resetAsked = true;
        guest.reset();
        return;
      }
      expect(guest.isReset).toBe(false);
      disk.end();
    };
    serve(
      guest,
      disk,
      () => {
        guest.start();
        guest.shared.config[32] = 0;
        guest.request(IN, 1, data(512, true));
        guest.request(IN, 2, data(512, true));
      },
      () => {
        expect([guest.isReset, disk.underWay, guest.shared.config[32]]).toEqual([true, 0, 1]);
      },
    );
    expect(resetAsked).toBe(true);
  });

  test("stopping finishes what is under way and shows it to the driver", () => {
    guest = new Guest(settings(image(SECTORS)));
    const disk = new RecordingDisk();
    disk.automatic = false;
    let asked = false;
    disk.wait = (block?: boolean): void => {
      if (block !== true) return;
      if (asked) disk.end();
      else guest.control.ask(ThreadRequest.STOP);
      asked = true;
    };
    serve(guest, disk, () => {
      guest.start();
      guest.request(IN, 1, data(512, true));
      guest.request(IN, 2, data(512, true));
    });
    expect([disk.underWay, guest.driver.take().length]).toEqual([0, 2]);
  });
});
