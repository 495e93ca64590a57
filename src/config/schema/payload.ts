import { Expected, OptionTextError } from "../grammar/errors.ts";
import {
  type Config,
  composed,
  jsonOnly,
  objectSchema,
  optional,
  parseOption,
  required,
  withDefault,
} from "./object-schema.ts";
import { bool, path, string } from "./value-types.ts";

export const fwCfgItemSchema = objectSchema("FwCfgItem", () => ({
  name: required(string, "name of the item"),
  file: optional(path, "file that holds its content"),
  string: optional(string, "its content"),
}));
export type FwCfgItem = Config<typeof fwCfgItemSchema>;

export const fwCfgItemListSchema = objectSchema("FwCfgItemList", () => ({
  item_list: jsonOnly<readonly FwCfgItem[], "present">(
    "present",
    { kind: "array", items: { kind: "object", schema: fwCfgItemSchema } },
    "items",
    { initial: [] },
  ),
}));
export type FwCfgItemList = Config<typeof fwCfgItemListSchema>;

/** `[item:item]`, an item being an option string; a `:` cannot be part of one. */
function parseItems(raw: string): FwCfgItemList {
  const items = raw.replace(/^\[/, "").replace(/\]$/, "").split(":");
  try {
    return { item_list: items.map((item) => parseOption(fwCfgItemSchema, item)) };
  } catch (error) {
    if (error instanceof OptionTextError)
      throw new Expected(`[name=...,file=...:name=...,string=...]; ${error.message}`);
    throw error;
  }
}

const itemsDoc = "further items, each with a name and either a file or a string";

export const fwCfgSchema = objectSchema("FwCfgConfig", () => ({
  e820: withDefault(bool, true, "expose the memory map"),
  kernel: withDefault(bool, true, "expose the kernel"),
  cmdline: withDefault(bool, true, "expose the kernel command line"),
  initramfs: withDefault(bool, true, "expose the initramfs"),
  acpi_tables: withDefault(bool, true, "expose the ACPI tables", { key: "acpi_table" }),
  items: composed<FwCfgItemList, "optional">(
    "optional",
    { kind: "object", schema: fwCfgItemListSchema },
    itemsDoc,
    [{ name: "items", label: "<[name=string,file=path:...]>", doc: itemsDoc }],
    (given) => (given.has("items") ? given.required("items", parseItems) : undefined),
  ),
}));
export type FwCfgConfig = Config<typeof fwCfgSchema>;

/** What is booted. On the command line each member is an option of its own. */
export const payloadSchema = objectSchema("PayloadConfig", () => ({
  firmware: optional(path, "firmware image"),
  kernel: optional(path, "kernel"),
  cmdline: optional(string, "kernel command line"),
  initramfs: optional(path, "initramfs"),
  igvm: optional(path, "IGVM file", { json: { feature: "igvm" } }),
  host_data: optional(string, "SEV-SNP host data, 64 characters", { json: { feature: "sev_snp" } }),
  fw_cfg_config: jsonOnly<FwCfgConfig, "optional">(
    "optional",
    { kind: "object", schema: fwCfgSchema },
    "content of the fw_cfg device",
    { traits: { feature: "fw_cfg", undocumented: true } },
  ),
}));
export type PayloadConfig = Config<typeof payloadSchema>;
