import type { Arch } from "../arch.ts";
import { OptionTextError, PciKeysError } from "../grammar/errors.ts";
import { GivenKeys, type KeyGrammar, readKeys } from "../grammar/given-keys.ts";
import type { JsonForm, ReadableType, ValueType } from "./value-type.ts";

/** Build features that are off unless asked for. Options and keys that carry one belong to that feature. */
export type Feature = "dbus_api" | "fw_cfg" | "guest_debug" | "igvm" | "ivshmem" | "pvmemcontrol" | "sev_snp";

/** One key of an option string. */
export interface Key extends KeyGrammar {
  readonly name: string;
  /** What stands for its value in help; empty for a valueless key. */
  readonly label: string;
  readonly doc: string;
  /** The default as help shows it. */
  readonly defaultText?: string;
  readonly required?: true;
  /** Name of the key that replaces this one. */
  readonly replacedBy?: string;
}

/** `present` members exist in every configuration object, `optional` ones are left out when unset. */
export type Presence = "present" | "optional";

/** How a member behaves in JSON where that does not follow from its presence and default. */
export interface JsonTraits {
  /** JSON must give the member although the command line has a default for it. */
  readonly required?: true;
  /** Printed only when true. */
  readonly omitFalse?: true;
  /** Absent from the published OpenAPI document. */
  readonly undocumented?: true;
  /** Older names accepted on input. */
  readonly aliases?: readonly string[];
  /** Part of the API only in a build with this feature. */
  readonly feature?: Feature;
  /** Part of the API on this architecture only. */
  readonly arch?: Arch;
  /** Printed as null when unset, not left out. */
  readonly printNull?: true;
  /** A file descriptor or a list of them: those that count come beside the JSON, the numbers in it mean nothing. */
  readonly descriptor?: true;
}

/** One member of a configuration object. Its name is that of the REST API; its keys are those of the command line. */
export interface Member<T, P extends Presence = Presence> {
  readonly presence: P;
  readonly json: JsonForm;
  readonly traits: JsonTraits;
  readonly doc: string;
  /** The default of a member that need not be given: of a `present` one, or of one that only some machines have. */
  readonly initial?: T;
  readonly keys: (memberName: string) => readonly Key[];
  /** The member's value from an option string; undefined when not given. @throws OptionTextError */
  readonly read: (given: GivenKeys, memberName: string) => T | undefined;
  /** One of the keys that all PCI devices share. */
  readonly common?: true;
}

export type Members = Readonly<Record<string, Member<unknown>>>;

type ValueOf<M> = M extends Member<infer T> ? T : never;
type Flat<T> = { readonly [K in keyof T]: T[K] };

/** The configuration object that a set of members describes: the shape of the REST API, defaults filled in. */
export type ConfigOf<M extends Members> = Flat<
  { readonly [K in keyof M as M[K]["presence"] extends "present" ? K : never]: ValueOf<M[K]> } & {
    readonly [K in keyof M as M[K]["presence"] extends "present" ? never : K]?: ValueOf<M[K]>;
  }
>;

/** A named object of the REST API. */
export interface ObjectSchema<M extends Members = Members> {
  readonly name: string;
  /** Made when first asked for: a VM uses few of all the objects there are. */
  readonly members: M;
  /** Keys that are accepted and have no effect. */
  readonly ignoredKeys: readonly Key[];
  /** JSON members that it does not have are an error; in all other objects they are ignored. */
  readonly closed: boolean;
}

/** The configuration object of a schema. */
export type Config<S> = S extends ObjectSchema<infer M> ? ConfigOf<M> : never;

export function objectSchema<const M extends Members>(
  name: string,
  makeMembers: () => M,
  { ignoredKeys = [], closed = false }: Partial<Pick<ObjectSchema, "ignoredKeys" | "closed">> = {},
): ObjectSchema<M> {
  let members: M | undefined;
  return {
    name,
    closed,
    get members() {
      members ??= makeMembers();
      return members;
    },
    ignoredKeys,
  };
}

interface MemberOptions {
  /** The command line's name for the member where it differs; null when it has none. */
  readonly key?: string | null;
  /** A deprecated second name on the command line. */
  readonly oldKey?: string;
  readonly hidden?: true;
  /** The default in the words of the user, where the configuration object has none. */
  readonly defaultText?: string;
  readonly json?: JsonTraits;
  readonly common?: true;
}

function simple<T, P extends Presence>(
  presence: P,
  type: ReadableType<T>,
  doc: string,
  options: MemberOptions,
  extra: { readonly required?: true; readonly initial?: T; readonly defaultText?: string },
): Member<T, P> {
  const defaultText = options.defaultText ?? extra.defaultText;
  return {
    presence,
    json: type.json,
    traits: options.json ?? {},
    doc,
    ...(extra.initial === undefined ? {} : { initial: extra.initial }),
    ...(options.common && { common: true }),
    keys: (memberName) => {
      if (options.key === null) return [];
      const name = options.key ?? memberName;
      const key: Key = {
        name,
        label: type.label,
        doc,
        ...(defaultText !== undefined && { defaultText }),
        ...(extra.required && { required: true }),
        ...(options.hidden && { hidden: true }),
      };
      if (options.oldKey === undefined) return [key];
      return [key, { name: options.oldKey, label: type.label, doc: `deprecated name of ${name}`, replacedBy: name }];
    },
    read: (given, memberName) => {
      if (options.key === null) return undefined;
      const name = options.key ?? memberName;
      if (options.oldKey !== undefined) {
        const value = given.renamed(name, options.oldKey, type.parse);
        return value === undefined && extra.required ? given.required(name, type.parse) : value;
      }
      return extra.required ? given.required(name, type.parse) : given.value(name, type.parse);
    },
  };
}

/** A member that must be given. */
export function required<T>(type: ReadableType<T>, doc: string, options: MemberOptions = {}): Member<T, "present"> {
  return simple("present", type, doc, options, { required: true });
}

/** A member with a default. */
export function withDefault<T>(
  type: ValueType<T>,
  initial: T,
  doc: string,
  options: MemberOptions = {},
): Member<T, "present"> {
  return simple("present", type, doc, options, { initial, defaultText: type.text(initial) });
}

/** A member that may be unset. */
export function optional<T>(type: ReadableType<T>, doc: string, options: MemberOptions = {}): Member<T, "optional"> {
  return simple("optional", type, doc, options, {});
}

/** A member that is made of several keys, or of one in an unusual way. */
export function composed<T, P extends Presence>(
  presence: P,
  json: JsonForm,
  doc: string,
  keys: readonly Key[],
  read: (given: GivenKeys) => T | undefined,
  extra: { readonly initial?: T; readonly traits?: JsonTraits } = {},
): Member<T, P> {
  const { traits = {}, ...initial } = extra;
  return { presence, json, traits, doc, keys: () => keys, read, ...initial };
}

/** A member of the REST API that the command line sets by other means than a key. */
export function jsonOnly<T, P extends Presence>(
  presence: P,
  json: JsonForm,
  doc: string,
  extra: { readonly initial?: T; readonly traits?: JsonTraits } = {},
): Member<T, P> {
  return composed<T, P>(presence, json, doc, [], () => undefined, extra);
}

/** What the members of a schema are when none is given; those without a default are absent. */
export function defaultsOf<M extends Members>(schema: ObjectSchema<M>): Partial<ConfigOf<M>> {
  const defaults = Object.entries(schema.members).flatMap(([name, { initial }]) =>
    initial === undefined ? [] : [[name, initial] as const],
  );
  // `ConfigOf` gives each member the type of its default.
  return Object.fromEntries(defaults) as Partial<ConfigOf<M>>;
}

/** Every key of an option, its own before those that all PCI devices share. */
export function keysOf(schema: ObjectSchema): readonly Key[] {
  const keys = (common: boolean) =>
    Object.entries(schema.members).flatMap(([name, member]) =>
      (member.common === true) === common ? member.keys(name) : [],
    );
  return [...keys(false), ...keys(true), ...schema.ignoredKeys];
}

const keyTables = new WeakMap<ObjectSchema, ReadonlyMap<string, Key>>();

function keyTable(schema: ObjectSchema): ReadonlyMap<string, Key> {
  let table = keyTables.get(schema);
  if (table === undefined) {
    table = new Map(keysOf(schema).map((key) => [key.name, key]));
    keyTables.set(schema, table);
  }
  return table;
}

/** The keys of an option string, not yet converted. @throws UnknownKeyError @throws OptionSyntaxError */
export function givenKeys(schema: ObjectSchema, text: string, warnings: string[] = []): GivenKeys {
  const values = new Map<string, string>();
  readKeys(text, keyTable(schema), (key, value) => values.set(key, value));
  return new GivenKeys(values, warnings);
}

function readMember(member: Member<unknown>, given: GivenKeys, name: string): unknown {
  if (!member.common) return member.read(given, name);
  try {
    return member.read(given, name);
  } catch (error) {
    throw error instanceof OptionTextError ? new PciKeysError(error) : error;
  }
}

/**
 * The configuration object that an option string describes, with the defaults of the command line.
 * @param warnings receives what the user should know although nothing is wrong, such as deprecated keys
 * @param defaults defaults that differ from the schema's
 * @throws OptionTextError at the first thing that is wrong
 */
export function parseOption<M extends Members>(
  schema: ObjectSchema<M>,
  text: string,
  warnings: string[] = [],
  defaults: Partial<ConfigOf<M>> = {},
): ConfigOf<M> {
  const given = givenKeys(schema, text, warnings);
  const config: Record<string, unknown> = {};
  const overrides: Readonly<Record<string, unknown>> = defaults;
  for (const [name, member] of Object.entries(schema.members)) {
    const value = readMember(member, given, name) ?? overrides[name] ?? member.initial;
    if (value !== undefined) config[name] = value;
  }
  // `ConfigOf` states for each member what the loop does with its presence and default.
  return config as ConfigOf<M>;
}
