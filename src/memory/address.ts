/** A guest physical address, in bytes. */
export type Gpa = number & { readonly __brand: "gpa" };
/** A host virtual address in this process, in bytes. */
export type Hva = number & { readonly __brand: "hva" };

/** Marks a number as a guest physical address. */
export const gpa = (address: number): Gpa => address as Gpa;
/** Marks a number as a host virtual address. */
export const hva = (address: number): Hva => address as Hva;
