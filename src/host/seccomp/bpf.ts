/**
 * Classic BPF as seccomp runs it (linux/filter.h, linux/bpf_common.h, Documentation/userspace-api/seccomp_filter.rst): a program
 * over the fields of struct seccomp_data, with jumps that only go forward.
 */

/** One struct sock_filter. */
export interface Instruction {
  readonly code: number;
  /** Instructions to skip when a comparison holds, or does not. */
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** The operations that filters are made of. */
export const Op = {
  /** BPF_LD | BPF_W | BPF_ABS: loads the word at offset k of seccomp_data. */
  LOAD: 0x20,
  /** BPF_ALU | BPF_AND | BPF_K */
  AND: 0x54,
  /** BPF_JMP | BPF_JA | BPF_K */
  JUMP: 0x05,
  /** BPF_JMP | BPF_JEQ | BPF_K */
  JUMP_EQUAL: 0x15,
  /** BPF_JMP | BPF_JGE | BPF_K, unsigned */
  JUMP_NOT_LESS: 0x35,
  /** BPF_RET | BPF_K */
  RETURN: 0x06,
} as const;

/** struct seccomp_data (linux/seccomp.h). The low half of an argument comes first on both of our architectures. */
export const SeccompData = { NR: 0, ARCH: 4, args: (index: number): number => 16 + 8 * index } as const;

/** Bytes of a struct sock_filter. */
export const INSTRUCTION_BYTES = 8;
/** BPF_MAXINSNS (linux/bpf_common.h). */
const MAX_INSTRUCTIONS = 4096;
const MAX_SHORT_JUMP = 255;

/** A place in a program, as its distance from the end. */
export type Place = number & { readonly __place: unique symbol };

/**
 * Writes a program from its end to its beginning, so that the distance of every jump is known when it is written. What a method
 * returns is the place that its code begins at.
 */
export class BackwardAssembler {
  readonly #reversed: Instruction[] = [];

  /** The place of what has been written last. */
  get here(): Place {
    return this.#reversed.length as Place;
  }

  return(action: number): Place {
    return this.#write(Op.RETURN, 0, 0, action);
  }

  load(offset: number): Place {
    return this.#write(Op.LOAD, 0, 0, offset);
  }

  and(mask: number): Place {
    return this.#write(Op.AND, 0, 0, mask);
  }

  jump(target: Place): Place {
    return this.here === target ? target : this.#write(Op.JUMP, 0, 0, this.here - target);
  }

  /** Goes on at one place or another, depending on what was loaded last. */
  branch(op: typeof Op.JUMP_EQUAL | typeof Op.JUMP_NOT_LESS, value: number, yes: Place, no: Place): Place {
    // A short jump may have to pass the long one of the other side as well.
    const near = (target: Place): Place =>
      this.here - target < MAX_SHORT_JUMP ? target : this.#write(Op.JUMP, 0, 0, this.here - target);
    const nearNo = near(no);
    const nearYes = near(yes);
    return this.#write(op, this.here - nearYes, this.here - nearNo, value);
  }

  /** The program, first instruction first. @throws RangeError when the kernel would not take one so long */
  program(): Instruction[] {
    if (this.#reversed.length > MAX_INSTRUCTIONS)
      throw new RangeError(`a filter of ${this.#reversed.length} instructions: the kernel takes ${MAX_INSTRUCTIONS}`);
    return this.#reversed.toReversed();
  }

  #write(code: number, jt: number, jf: number, k: number): Place {
    this.#reversed.push({ code, jt, jf, k });
    return this.here;
  }
}

/** A program as an array of struct sock_filter. */
export function encodeProgram(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(program.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, jt, jf, k }, i) => {
    const at = i * INSTRUCTION_BYTES;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, jt);
    view.setUint8(at + 3, jf);
    view.setUint32(at + 4, k, true);
  });
  return bytes;
}
