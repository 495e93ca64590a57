import { openApiDocument } from "./document.ts";
import type { DocumentObject, DocumentValue } from "./json-schema.ts";

const HEADER = `// Made from the API's schema by src/api/openapi/print-types.ts.
`;

/** The objects and operations of the API as TypeScript, for programs that use it. */
export function clientTypes(): string {
  const { components, paths } = openApiDocument();
  const schemas = Object.entries(members(member(components, "schemas"))).map(([name, schema]) =>
    declaration(name, members(schema)),
  );
  return [HEADER, ...schemas, operations(members(paths))].join("\n");
}

function declaration(name: string, schema: DocumentObject): string {
  const { type, description, properties } = schema;
  const comment = typeof description === "string" ? `${doc(description)}\n` : "";
  if (type !== "object" || properties === undefined) return `${comment}export type ${name} = ${typeOf(schema)};\n`;
  return `${comment}export interface ${name} ${interfaceBody(schema)}\n`;
}

function interfaceBody({ properties, required = [] }: DocumentObject): string {
  const needed = new Set(Array.isArray(required) ? required : []);
  const lines = Object.entries(members(properties)).flatMap(([name, value]) => {
    const property = members(value);
    if (property["deprecated"] === true) return [];
    const { description, default: initial } = property;
    const about = [
      ...(typeof description === "string" ? [description] : []),
      ...(initial === undefined ? [] : [`default ${JSON.stringify(initial)}`]),
    ].join("; ");
    const comment = about === "" ? [] : [`  ${doc(about)}`];
    return [...comment, `  readonly ${key(name)}${needed.has(name) ? "" : "?"}: ${typeOf(property)};`];
  });
  return `{\n${lines.join("\n")}\n}`;
}

function typeOf(schema: DocumentObject): string {
  const { $ref: ref, type, enum: choices, items, additionalProperties } = schema;
  if (typeof ref === "string") return ref.slice(ref.lastIndexOf("/") + 1);
  if (Array.isArray(choices)) return choices.map((choice) => JSON.stringify(choice)).join(" | ");
  switch (type) {
    case "integer":
      return "number";
    case "array":
      return `readonly ${typeOf(members(items))}[]`;
    case "object":
      return `Readonly<Record<string, ${
        additionalProperties === undefined || typeof additionalProperties === "boolean"
          ? "unknown"
          : typeOf(members(additionalProperties))
      }>>`;
    default:
      return String(type);
  }
}

/** What each endpoint takes and gives. */
function operations(paths: DocumentObject): string {
  const lines = Object.entries(paths).flatMap(([path, value]) =>
    Object.entries(members(value)).map(([method, operation]) => {
      const { summary, requestBody, responses } = members(operation);
      const body = requestBody === undefined ? "undefined" : contentType(members(requestBody));
      const results = Object.entries(members(responses))
        .filter(([status]) => status.startsWith("2"))
        .map(([, response]) => ("content" in members(response) ? contentType(members(response)) : "undefined"));
      const about = `  ${doc(String(summary))}\n`;
      return `${about}  readonly "${path.slice(1)}": { readonly method: "${method.toUpperCase()}"; readonly body: ${body}; readonly result: ${results.join(" | ")} };`;
    }),
  );
  return `${doc("What each endpoint takes and gives")}\nexport interface Operations {\n${lines.join("\n")}\n}\n`;
}

function contentType(holder: DocumentObject): string {
  return typeOf(members(member(member(holder["content"], "application/json"), "schema")));
}

function doc(text: string): string {
  const sentence = `${text.charAt(0).toUpperCase()}${text.slice(1)}`.replaceAll("*/", "* /");
  return `/** ${sentence}${sentence.endsWith(".") ? "" : "."} */`;
}

const key = (name: string): string => (/^\w+$/.test(name) ? name : JSON.stringify(name));

function members(value: DocumentValue | undefined): DocumentObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new TypeError("not an object");
  return value as DocumentObject;
}

function member(value: DocumentValue | undefined, name: string): DocumentValue | undefined {
  return members(value)[name];
}
