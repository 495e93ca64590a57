import { parsePortForward } from "../../config/grammar/port-forward.ts";
import type { NetConfig } from "../../config/schema/net.ts";
import { controlQueue, type NetSettings, type NetWiring, netDevice } from "../../devices/virtio/net/device.ts";
import type { PairGateWiring } from "../../devices/virtio/net/rate-limit.ts";
import { ipBytes } from "../../net/ip-address.ts";
import { macBytes, macText, randomMac } from "../../net/mac-address.ts";
import type { CarrierWiring } from "../../net/open-carrier.ts";
import { Passt } from "../../net/passt.ts";
import { adoptTap, openTap } from "../../net/tap.ts";
import { logger } from "../../threads/log.ts";
import type { PciBuilder } from "./builder.ts";

const log = logger("devices");

/** What a device has on the host. */
interface HostSide {
  readonly carrier: CarrierWiring;
  readonly mtu: number | undefined;
  readonly offloads: NetSettings["offloads"];
}

/**
 * Places a network device, each pair of queues on a thread of its own; the first serves the control queue as well.
 * @throws TapError, PasstError, SysError
 */
export function placeNet(builder: PciBuilder, net: NetConfig): void {
  const id = builder.id(net.id, "_net");
  const pairs = Math.floor(net.num_queues / 2);
  const mac = net.mac === undefined ? randomMac() : macBytes(net.mac);
  const { carrier, ...host } = net.user ? startUserNet(builder, id, net, mac) : openTaps(builder, id, net, pairs);
  const settings: NetSettings = { mac, pairs, queueSize: net.queue_size, ...host };
  const threads = Array.from({ length: pairs }, (_, pair) => builder.thread(`${id}_qp${pair}`));
  const threadOf = (queue: number) => threads[queue === controlQueue(pairs) ? 0 : Math.floor(queue / 2)];
  builder.generated = { mac: macText(mac) };
  const transport = builder.transport(id, netDevice(settings), threadOf);
  const device: NetWiring = { transport, settings, carrier, gates: pairGates(builder, net, pairs) };
  builder.wiring = { kind: "net", slot: builder.slot(net), device };
  threads.forEach((thread, queue) => {
    builder.queueThreads.push({ kind: "net", thread, device, queue, affinity: undefined });
  });
}

/** Each queue of each pair has the whole of the limits for itself (virtio.md 4.8). */
function pairGates(builder: PciBuilder, { rate_limiter_config: limits }: NetConfig, pairs: number): PairGateWiring[] {
  const gate = () => builder.gates(1, limits)?.[0];
  return Array.from({ length: pairs }, () => ({ receive: gate(), transmit: gate() }));
}

/** @throws TapError */
function openTaps({ descriptors }: PciBuilder, id: string, net: NetConfig, queues: number): HostSide {
  const { tap: name, fds: given, ip, mask, host_mac, mtu } = net;
  const tap =
    name === undefined && given !== undefined
      ? adoptTap(given, mtu)
      : openTap({
          name,
          queues,
          address: ip !== undefined && mask !== undefined ? { ip: ipBytes(ip), mask: ipBytes(mask) } : undefined,
          hostMac: host_mac === undefined ? undefined : macBytes(host_mac),
          mtu,
        });
  for (const fd of tap.fds) descriptors.own(fd);
  for (const warning of tap.warnings) log.warn(`${id}: ${warning}`);
  return {
    carrier: { kind: "tap", fds: tap.fds },
    mtu: tap.mtu,
    offloads: { csum: net.offload_csum, tso: net.offload_tso, ufo: net.offload_ufo },
  };
}

/**
 * Large, as each frame costs a system call and stands for as many segments as TSO would make of it; but each frame has to fit into
 * one of the pieces that the kernel cuts a Unix stream into, of some 36 KiB (af_unix.c, UNIX_SKB_FRAGS_SZ): versions of passt up to
 * 2023 read the rest of a frame in one call, and lose their place in the stream when it comes in two.
 */
const USER_MTU = 32_768;

/** @throws PasstError, SysError */
function startUserNet(builder: PciBuilder, id: string, net: NetConfig, mac: Uint8Array): HostSide {
  const { descriptors, owner, resources } = builder;
  const { mtu = USER_MTU, forward = [] } = net;
  const passt = Passt.start({ mac, mtu, forwards: forward.map(parsePortForward) });
  descriptors.own(passt.fd);
  owner.defer(() => passt.stop());
  passt.onEnd((why) => {
    log.error(`${id}: passt has ended (${why}): the guest's link is down until the VM boots again`);
    resources.linkDown(id);
  });
  return {
    carrier: { kind: "stream", fds: [passt.fd] },
    mtu,
    offloads: { csum: false, tso: false, ufo: false },
  };
}
