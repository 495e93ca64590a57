import { type Config, objectSchema, optional, withDefault } from "./object-schema.ts";
import { pciMembers } from "./pci-keys.ts";
import { rateLimiter } from "./rate-limiter.ts";
import { bool, ip, mac, oneOf, portForwards, string, truncatedList, u16, usize } from "./value-types.ts";

export const netSchema = objectSchema("NetConfig", () => ({
  ...pciMembers,
  tap: optional(string, "TAP interface", { defaultText: "a new one" }),
  ip: optional(ip, "address of the host's side; needs mask"),
  mask: optional(ip, "network mask of the host's side; needs ip"),
  mac: optional(mac, "MAC address of the guest's side", { defaultText: "random" }),
  host_mac: optional(mac, "MAC address of the TAP interface", { hidden: true }),
  mtu: optional(u16, "MTU, at least 1280", { hidden: true }),
  num_queues: withDefault(usize, 2, "virtqueues, receive and transmit counted together"),
  queue_size: withDefault(u16, 256, "entries of a virtqueue, a power of two"),
  vhost_user: withDefault(bool, false, "use the vhost-user back end at socket"),
  vhost_socket: optional(string, "socket of the vhost-user back end", { key: "socket" }),
  vhost_mode: withDefault(
    oneOf({ client: "Client", server: "Server" }),
    "Client",
    "who listens on the socket: client, the back end; server, the VMM",
  ),
  fds: optional(truncatedList("i32"), "file descriptors of open TAP interfaces, one per pair of queues", {
    key: "fd",
    json: { undocumented: true, descriptor: true },
  }),
  user: withDefault(bool, false, "user-mode network by passt, which needs no privileges", {
    json: { omitFalse: true },
  }),
  forward: optional(portForwards, "with user: ports of the host, on 127.0.0.1 or the address, that lead to the guest"),
  rate_limiter_config: rateLimiter,
  offload_tso: withDefault(bool, true, "offer TCP segmentation offload"),
  offload_ufo: withDefault(bool, true, "offer UDP fragmentation offload"),
  offload_csum: withDefault(bool, true, "offer checksum offload"),
}));
export type NetConfig = Config<typeof netSchema>;
