type ErrorType = abstract new (...args: never[]) => Error;

/** Does what may be refused with errors of these types. @throws any other */
export function tolerate(types: readonly ErrorType[], act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!types.some((type) => error instanceof type)) throw error;
  }
}

/** As `tolerate`. */
export async function tolerateAsync(types: readonly ErrorType[], act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!types.some((type) => error instanceof type)) throw error;
  }
}
