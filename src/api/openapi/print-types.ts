import { clientTypes } from "./typescript.ts";

/** Prints the types of the API's client: `bun src/api/openapi/print-types.ts > src/api/client/types.ts`. */
process.stdout.write(clientTypes());
