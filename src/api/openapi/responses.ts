import { vmSchema } from "../../config/schema/vm.ts";
import type { EndpointName } from "../rest/endpoints.ts";
import { type ComponentSchemas, type DocumentObject, refTo } from "./json-schema.ts";

const TEXT = { type: "string" } as const;
const COUNT = { type: "integer", format: "int64", minimum: 0 } as const;

/** Adds the objects that the API only ever sends. */
export function addResponseSchemas(schemas: ComponentSchemas): void {
  schemas.add("VmmPingResponse", {
    type: "object",
    required: ["build_version", "version", "pid", "features"],
    properties: {
      build_version: { ...TEXT, description: "the build, as git describes it" },
      version: { ...TEXT, description: "major.minor.patch" },
      pid: { type: "integer", format: "int64", description: "process of the VMM" },
      features: { type: "array", items: TEXT, description: "what the VMM was built with" },
    },
  });
  schemas.add("VmState", { ...TEXT, enum: ["Created", "Running", "Shutdown", "Paused", "BreakPoint"] });
  schemas.add("VmInfo", {
    type: "object",
    required: ["config", "state", "memory_actual_size"],
    properties: {
      config: schemas.object(vmSchema),
      state: refTo("VmState"),
      memory_actual_size: { ...COUNT, description: "RAM that the guest has, in bytes" },
      device_tree: {
        type: "object",
        description: "devices by their ids, when the VM is booted",
        additionalProperties: refTo("DeviceNode"),
      },
    },
  });
  schemas.add("DeviceNode", {
    type: "object",
    required: ["id", "resources", "children"],
    properties: {
      id: TEXT,
      resources: {
        type: "array",
        description: "each an object with one member, whose name says of what kind the resource is",
        items: { type: "object" },
      },
      parent: { ...TEXT, description: "id of the node above" },
      children: { type: "array", items: TEXT, description: "ids of the nodes below" },
      pci_bdf: { ...TEXT, description: "place on the PCI buses, as 0000:00:03.0" },
    },
  });
  schemas.add("VmCounters", {
    type: "object",
    description: "counters by the device's id and by their names",
    additionalProperties: { type: "object", additionalProperties: COUNT },
  });
  schemas.add("PciDeviceInfo", {
    type: "object",
    required: ["id", "bdf"],
    properties: { id: TEXT, bdf: { ...TEXT, description: "place on the PCI buses, as 0000:00:03.0" } },
  });
  schemas.add("ErrorTexts", {
    type: "array",
    items: TEXT,
    description: "what went wrong, from the outermost description to the root cause",
  });
}

/** Names of schemas that a successful answer has. */
const CONTENT: Readonly<Partial<Record<EndpointName, string>>> = {
  "vmm.ping": "VmmPingResponse",
  "vm.info": "VmInfo",
  "vm.counters": "VmCounters",
};

const isAdd = (name: EndpointName): boolean => name.startsWith("vm.add-");

const json = (schema: string): DocumentObject => ({ content: { "application/json": { schema: refTo(schema) } } });

const DESCRIPTIONS: Readonly<Record<number, string>> = {
  200: "done",
  204: "done",
  400: "the request or the configuration is not valid",
  404: "there is no VM, or nothing of that name",
  409: "an identifier or a device path is in use already",
  429: "an earlier resize is not over yet",
  500: "it cannot be done, or not in the state that the VM is in",
};

/** Statuses besides success and 400. rest-api.md, section 2. */
function failures(name: EndpointName): readonly number[] {
  switch (name) {
    case "vmm.ping":
      return [];
    case "vmm.shutdown":
    case "vm.counters":
    case "vm.create":
    case "vm.delete":
    case "vm.shutdown":
    case "vm.pause":
    case "vm.resume":
    case "vm.power-button":
    case "vm.nmi":
    case "vm.snapshot":
    case "vm.coredump":
    case "vm.receive-migration":
    case "vm.send-migration":
      return [500];
    case "vm.info":
    case "vm.reboot":
    case "vm.resize-disk":
    case "vm.resize-zone":
    case "vm.remove-device":
      return [404, 500];
    case "vm.restore":
      return [409, 500];
    case "vm.resize":
      return [404, 429, 500];
    case "vm.boot":
    case "vm.add-device":
    case "vm.add-user-device":
    case "vm.add-disk":
    case "vm.add-fs":
    case "vm.add-generic-vhost-user":
    case "vm.add-pmem":
    case "vm.add-net":
    case "vm.add-vdpa":
    case "vm.add-vsock":
      return [404, 409, 500];
  }
}

/** Every answer that an endpoint gives, by its status. */
export function responsesOf(name: EndpointName): DocumentObject {
  const content = CONTENT[name];
  const added: readonly (readonly [number, DocumentObject])[] = isAdd(name)
    ? [
        [200, { description: "the device is plugged in", ...json("PciDeviceInfo") }],
        [204, { description: "the device is part of the VM when that boots" }],
      ]
    : [];
  const status = content === undefined && name !== "vmm.shutdown" ? 204 : 200;
  const done: DocumentObject = { description: DESCRIPTIONS[status] ?? "", ...(content !== undefined && json(content)) };
  const successes = added.length > 0 ? added : [[status, done] as const];
  const failed = [400, ...failures(name)].map(
    (code) => [code, { description: DESCRIPTIONS[code] ?? "", ...json("ErrorTexts") }] as const,
  );
  return Object.fromEntries([...successes, ...failed].map(([code, response]) => [String(code), response]));
}
