import { describe, expect, test } from "bun:test";
import { type NetSettings, NetState, netDevice, OFFLOADS_SET } from "../../../../../src/devices/virtio/net/device.ts";
import { commandedOffloads, offloadsFor, offloadsInForce } from "../../../../../src/devices/virtio/net/offloads.ts";
import { NetFeature, NetStatus, netConfig } from "../../../../../src/devices/virtio/net/protocol.ts";
import { VirtioFeature } from "../../../../../src/devices/virtio/transport/features.ts";
import { TunOffload } from "../../../../../src/net/tap-abi.ts";

const settings: NetSettings = {
  mac: Uint8Array.of(0x2e, 1, 2, 3, 4, 5),
  mtu: 9000,
  pairs: 3,
  queueSize: 512,
  offloads: { csum: true, tso: true, ufo: true },
};
const sorted = (bits: readonly number[]): number[] => bits.toSorted((a, b) => a - b);
const { MAC, STATUS, CTRL_VQ, GUEST_ANNOUNCE, MQ } = NetFeature;
const always = [MAC, STATUS, CTRL_VQ, GUEST_ANNOUNCE, MQ, VirtioFeature.EVENT_IDX];

describe("a network device", () => {
  test.each([
    [{ csum: true, tso: true, ufo: true }, [0, 1, 2, 7, 8, 9, 10, 11, 12, 13, 14]],
    [{ csum: true, tso: true, ufo: false }, [0, 1, 2, 7, 8, 9, 11, 12, 13]],
    [{ csum: true, tso: false, ufo: true }, [0, 1, 2, 10, 14]],
    [{ csum: true, tso: false, ufo: false }, [0, 1, 2]],
    [{ csum: false, tso: false, ufo: false }, []],
  ])("features of %j", (offloads, bits) => {
    const { features } = netDevice({ ...settings, offloads, mtu: undefined });
    expect(sorted(features)).toEqual(sorted([...always, ...bits]));
  });

  test("queues, MTU and configuration", () => {
    const { features, config, queueSizes, minQueues } = netDevice(settings);
    expect(features).toContain(NetFeature.MTU);
    expect(queueSizes).toEqual(new Array(7).fill(512));
    expect(minQueues).toBe(2);
    expect(config).toHaveLength(netConfig.size);
    const view = new DataView(config.buffer);
    expect(config.subarray(0, 6)).toEqual(settings.mac);
    expect(view.getUint16(netConfig.offsets.max_virtqueue_pairs, true)).toBe(3);
    expect(view.getUint16(netConfig.offsets.mtu, true)).toBe(9000);
    expect(view.getUint16(netConfig.offsets.status, true)).toBe(0);
  });

  test("the link is up for drivers that ask; an announcement is asked for after a restore until it is acknowledged", () => {
    const { config, refreshConfig, restored, reset, stateWords = 0 } = netDevice(settings);
    const state = new Uint32Array(stateWords);
    const status = (...accepted: number[]): number => {
      refreshConfig?.(config, (bit) => accepted.includes(bit), state);
      return config[netConfig.offsets.status] ?? -1;
    };
    expect(status()).toBe(0);
    expect(status(STATUS, GUEST_ANNOUNCE)).toBe(NetStatus.LINK_UP);
    restored?.(state);
    expect(status(STATUS)).toBe(NetStatus.LINK_UP);
    expect(status(GUEST_ANNOUNCE)).toBe(0);
    expect(status(STATUS, GUEST_ANNOUNCE)).toBe(NetStatus.LINK_UP | NetStatus.ANNOUNCE);
    state[NetState.ANNOUNCEMENTS] = 0;
    expect(status(STATUS, GUEST_ANNOUNCE)).toBe(NetStatus.LINK_UP);
    restored?.(state);
    reset?.(state);
    expect(status(STATUS, GUEST_ANNOUNCE)).toBe(NetStatus.LINK_UP);
  });
});

describe("guest offloads", () => {
  const accepts =
    (...bits: number[]) =>
    (bit: number): boolean =>
      bits.includes(bit);

  test("follow the features until a command sets them", () => {
    const { GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO } = NetFeature;
    const all = accepts(GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, MAC);
    expect(offloadsFor(all)).toBe(0x1f);
    expect(offloadsFor(accepts(GUEST_CSUM, MAC))).toBe(TunOffload.CSUM);
    expect(offloadsInForce(new Uint32Array(3), all)).toBe(0x1f);
    expect(offloadsInForce(Uint32Array.of(OFFLOADS_SET, 0, 0), all)).toBe(0);
    expect(offloadsInForce(Uint32Array.of(OFFLOADS_SET | TunOffload.TSO6, 0, 0), all)).toBe(TunOffload.TSO6);
  });

  test("a command may ask for what was negotiated and nothing else", () => {
    const { GUEST_CSUM, GUEST_TSO4 } = NetFeature;
    const has = accepts(GUEST_CSUM, GUEST_TSO4, MAC);
    expect(commandedOffloads(0, 0, has)).toBe(0);
    expect(commandedOffloads((1 << GUEST_CSUM) | (1 << GUEST_TSO4), 0, has)).toBe(TunOffload.CSUM | TunOffload.TSO4);
    expect(commandedOffloads(1 << NetFeature.GUEST_TSO6, 0, has)).toBeUndefined();
    expect(commandedOffloads(1 << MAC, 0, has)).toBeUndefined();
    expect(commandedOffloads(0x8000_0000, 0, has)).toBeUndefined();
    expect(commandedOffloads(0, 1, has)).toBeUndefined();
  });
});
