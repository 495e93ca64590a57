import { openApiDocument } from "./document.ts";

/** Prints the OpenAPI document: `bun src/api/openapi/print.ts > docs/openapi.yaml`. */
process.stdout.write(`${Bun.YAML.stringify(openApiDocument(), undefined, 2)}\n`);
