import type { NetConfig } from "../../config/schema/net.ts";
import { controlQueue, type NetSettings, type NetWiring, netDevice } from "../../devices/virtio/net/device.ts";
import { ipBytes } from "../../net/ip-address.ts";
import { macBytes, macText, randomMac } from "../../net/mac-address.ts";
import { adoptTap, type OpenTap, openTap } from "../../net/tap.ts";
import { logger } from "../../threads/log.ts";
import type { PciBuilder } from "./builder.ts";

const log = logger("devices");

/** Places a network device, each pair of queues on a thread of its own, and its control queue. @throws TapError */
export function placeNet(builder: PciBuilder, net: NetConfig): void {
  const { descriptors } = builder;
  const id = builder.id(net.id, "_net");
  const pairs = Math.floor(net.num_queues / 2);
  const tap = tapOf(net, pairs);
  for (const fd of tap.fds) descriptors.own(fd);
  for (const warning of tap.warnings) log.warn(`${id}: ${warning}`);
  const settings: NetSettings = {
    mac: net.mac === undefined ? randomMac() : macBytes(net.mac),
    mtu: tap.mtu,
    pairs,
    queueSize: net.queue_size,
    offloads: { csum: net.offload_csum, tso: net.offload_tso, ufo: net.offload_ufo },
  };
  const threads = Array.from({ length: pairs }, (_, pair) => builder.thread(`${id}_qp${pair}`));
  const control = builder.thread(`${id}_ctrl`);
  builder.ioThread = control;
  const threadOf = (queue: number) => (queue === controlQueue(pairs) ? control : threads[Math.floor(queue / 2)]);
  builder.generated = { mac: macText(settings.mac) };
  const transport = builder.transport(id, netDevice(settings), threadOf);
  const device: NetWiring = { transport, settings, carrier: { kind: "tap", fds: tap.fds } };
  builder.wiring = { kind: "net", slot: builder.slot(net), device };
  threads.forEach((thread, queue) => {
    builder.queueThreads.push({ kind: "net", thread, device, queue, affinity: undefined });
  });
}

function tapOf({ tap, fds, ip, mask, host_mac, mtu }: NetConfig, queues: number): OpenTap {
  if (tap === undefined && fds !== undefined) return adoptTap(fds, mtu);
  return openTap({
    name: tap,
    queues,
    address: ip !== undefined && mask !== undefined ? { ip: ipBytes(ip), mask: ipBytes(mask) } : undefined,
    hostMac: host_mac === undefined ? undefined : macBytes(host_mac),
    mtu,
  });
}
