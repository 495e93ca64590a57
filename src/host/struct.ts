import type { MemoryBlock } from "./memory-block.ts";

/**
 * One description of a fixed-layout structure - a kernel ABI struct, a virtio or ACPI structure, a device's state block -
 * from which size, offsets and accessors follow. Layout rules are C's on a 64-bit little-endian machine: each field at
 * the next multiple of its alignment, the size a multiple of the largest alignment; `packed` removes both paddings.
 */

/** A field that is read and written as one value. */
interface ScalarField<T> {
  readonly size: number;
  readonly align: number;
  readonly get: (view: DataView, offset: number) => T;
  readonly set: (view: DataView, offset: number, value: T) => void;
}

/** A field that is a part of the memory with an accessor of its own: an array, a nested structure. */
interface PartField<T> {
  readonly size: number;
  readonly align: number;
  readonly part: (block: MemoryBlock, offset: number) => T;
}

export type Field<T> = ScalarField<T> | PartField<T>;
type ValueOf<F> = F extends ScalarField<infer T> ? T : F extends PartField<infer T> ? T : never;
type AnyField = ScalarField<number> | ScalarField<bigint> | PartField<unknown>;
type Fields = { readonly [name: string]: AnyField };

/** A structure at a place in memory: each field is a property that reads and writes that memory. */
export type View<F> = { -readonly [K in keyof F]: ValueOf<F[K]> };

/** The description of a structure: its size and offsets in bytes, and views of it. */
export interface StructType<F> {
  readonly name: string;
  readonly size: number;
  readonly align: number;
  readonly offsets: { readonly [K in keyof F]: number };
  /** The structure at `offset` of `block`. @throws RangeError where it does not fit */
  at(block: MemoryBlock, offset?: number): View<F>;
}

/** The view type of a structure type: `type Region = ViewOf<typeof kvmUserspaceMemoryRegion>`. */
export type ViewOf<S> = S extends StructType<infer F> ? View<F> : never;

export const u8: ScalarField<number> = {
  size: 1,
  align: 1,
  get: (view, offset) => view.getUint8(offset),
  set: (view, offset, value) => view.setUint8(offset, value),
};
export const u16: ScalarField<number> = {
  size: 2,
  align: 2,
  get: (view, offset) => view.getUint16(offset, true),
  set: (view, offset, value) => view.setUint16(offset, value, true),
};
export const u32: ScalarField<number> = {
  size: 4,
  align: 4,
  get: (view, offset) => view.getUint32(offset, true),
  set: (view, offset, value) => view.setUint32(offset, value, true),
};
export const i32: ScalarField<number> = {
  size: 4,
  align: 4,
  get: (view, offset) => view.getInt32(offset, true),
  set: (view, offset, value) => view.setInt32(offset, value, true),
};
/** 64 bits as a number: exact up to 2^53, which covers every address, size and count; use `u64n` for bit patterns. */
export const u64: ScalarField<number> = {
  size: 8,
  align: 8,
  get: (view, offset) => view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 0x1_0000_0000,
  set: (view, offset, value) => {
    view.setUint32(offset, value >>> 0, true);
    view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
  },
};
/** 64 bits as a BigInt, for values that are bit patterns. Not for hot paths. */
export const u64n: ScalarField<bigint> = {
  size: 8,
  align: 8,
  get: (view, offset) => view.getBigUint64(offset, true),
  set: (view, offset, value) => view.setBigUint64(offset, value, true),
};

/** A floating-point number of 64 bits: for state of our own that is none of the kernel's or the guest's. */
export const f64: ScalarField<number> = {
  size: 8,
  align: 8,
  get: (view, offset) => view.getFloat64(offset, true),
  set: (view, offset, value) => view.setFloat64(offset, value, true),
};

/** A run of `size` bytes. */
export const bytes = (size: number): PartField<Uint8Array> => ({
  size,
  align: 1,
  part: (block, offset) => block.u8.subarray(offset, offset + size),
});

/** An array of `count` 16-bit integers. */
export const u16s = (count: number): PartField<Uint16Array> => ({
  size: count * 2,
  align: 2,
  part: (block, offset) => block.u16.subarray(offset / 2, offset / 2 + count),
});

/** An array of `count` 32-bit integers. */
export const u32s = (count: number): PartField<Uint32Array> => ({
  size: count * 4,
  align: 4,
  part: (block, offset) => block.u32.subarray(offset / 4, offset / 4 + count),
});

/** A 32-bit word for Atomics: an Int32Array of one element. */
export const atomic32: PartField<Int32Array> = {
  size: 4,
  align: 4,
  part: (block, offset) => block.i32.subarray(offset / 4, offset / 4 + 1),
};

/** A structure inside a structure. */
export const nested = <F>(type: StructType<F>): PartField<View<F>> => ({
  size: type.size,
  align: type.align,
  part: (block, offset) => type.at(block, offset),
});

/** An array of `count` structures. */
export const list = <F>(type: StructType<F>, count: number): PartField<readonly View<F>[]> => ({
  size: type.size * count,
  align: type.align,
  part: (block, offset) => Array.from({ length: count }, (_, i) => type.at(block, offset + i * type.size)),
});

const roundUp = (value: number, align: number): number => Math.ceil(value / align) * align;

/**
 * Describes a structure.
 * @param name the C name, for messages and for the tests that compare with the headers
 * @param fields in memory order
 * @param layout "packed" leaves out all padding
 */
export function struct<const F extends Fields>(
  name: string,
  fields: F,
  layout: "natural" | "packed" = "natural",
): StructType<F> {
  const offsets: Record<string, number> = {};
  let end = 0;
  let align = 1;
  for (const [field, { size, align: natural }] of Object.entries(fields)) {
    const fieldAlign = layout === "packed" ? 1 : natural;
    end = roundUp(end, fieldAlign);
    align = Math.max(align, fieldAlign);
    offsets[field] = end;
    end += size;
  }
  const size = roundUp(end, align);

  // A thread pays for accessors only of the structures that it uses: they are made with the first view.
  let views: ViewClass | undefined;
  return {
    name,
    size,
    align,
    offsets: offsets as { readonly [K in keyof F]: number },
    at(block, offset = 0) {
      if (offset < 0 || offset + size > block.size)
        throw new RangeError(`${name} of ${size} bytes at offset ${offset} of a block of ${block.size}`);
      views ??= viewClass(fields, offsets);
      return new views(block, offset) as View<F>;
    },
  };
}

type ViewClass = new (block: MemoryBlock, base: number) => unknown;

/** The class of the views of a structure with these fields. */
function viewClass(fields: Fields, offsets: Readonly<Record<string, number>>): ViewClass {
  const parts = Object.entries(fields).flatMap(([field, description]) =>
    "part" in description ? [{ field, offset: offsets[field] ?? 0, part: description.part }] : [],
  );
  class StructView {
    readonly #view: DataView;
    readonly #base: number;
    constructor(block: MemoryBlock, base: number) {
      this.#view = block.view;
      this.#base = base;
      for (const { field, offset, part } of parts)
        Object.defineProperty(this, field, { value: part(block, base + offset), enumerable: true });
    }

    static define<T>(field: string, offset: number, { get, set }: ScalarField<T>): void {
      Object.defineProperty(StructView.prototype, field, {
        get(this: StructView) {
          return get(this.#view, this.#base + offset);
        },
        set(this: StructView, value: T) {
          set(this.#view, this.#base + offset, value);
        },
        enumerable: true,
      });
    }
  }
  for (const [field, description] of Object.entries(fields))
    if ("get" in description) StructView.define(field, offsets[field] ?? 0, description as ScalarField<unknown>);

  return StructView;
}
