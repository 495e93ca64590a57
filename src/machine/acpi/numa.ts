import type { GpaRange, PciAddress } from "./topology.ts";

/** One proximity domain as the guest is to see it. */
export interface NumaNode {
  /** Its number, unique among the nodes. */
  readonly id: number;
  /** RAM present at boot. */
  readonly memory: readonly GpaRange[];
  /** Ranges in which RAM may appear later (virtio-mem). */
  readonly hotplugMemory: readonly GpaRange[];
  /** Indices of its vCPUs. */
  readonly cpus: readonly number[];
  /** Numbers of its PCI segments; segment 0 is in node 0 whatever is said here. */
  readonly pciSegments: readonly number[];
  /** Distance to other nodes by their number, 10 (local) to 255 (unreachable). */
  readonly distances: ReadonlyMap<number, number>;
  /** The PCI device of a node that has neither CPUs nor memory. */
  readonly genericInitiator?: PciAddress;
}

const LOCAL_DISTANCE = 10;
const DEFAULT_REMOTE_DISTANCE = 20;

/** The nodes in ascending order of their numbers, the order of every table. */
export const byNodeId = (nodes: readonly NumaNode[]): NumaNode[] => nodes.toSorted((a, b) => a.id - b.id);

/** The distance between two nodes: as given, else as given the other way, else 20. */
export function nodeDistance(from: NumaNode, to: NumaNode): number {
  if (from.id === to.id) return LOCAL_DISTANCE;
  return from.distances.get(to.id) ?? to.distances.get(from.id) ?? DEFAULT_REMOTE_DISTANCE;
}

/** The node of each vCPU, by index; 0 for those in none. */
export function nodesOfCpus(nodes: readonly NumaNode[], cpuCount: number): Uint32Array {
  const nodeOf = new Uint32Array(cpuCount);
  for (const node of nodes) for (const cpu of node.cpus) nodeOf[cpu] = node.id;
  return nodeOf;
}

/** The node of a PCI segment; 0 for one in none, and for segment 0. */
export function nodeOfSegment(nodes: readonly NumaNode[], segment: number): number {
  if (segment === 0) return 0;
  return nodes.find((node) => node.pciSegments.includes(segment))?.id ?? 0;
}
