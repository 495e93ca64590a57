/** What an OpenAPI document says, one fact a line, so that two documents can be compared. Prose is left out. */
export type Facts = ReadonlyMap<string, string>;

type Node = Readonly<Record<string, unknown>>;

const isNode = (value: unknown): value is Node => typeof value === "object" && value !== null && !Array.isArray(value);
const node = (value: unknown): Node => (isNode(value) ? value : {});
const at = (value: unknown, name: string): unknown => node(value)[name];

const FACETS = [
  "type",
  "format",
  "minimum",
  "maximum",
  "minLength",
  "default",
  "enum",
  "deprecated",
  "additionalProperties",
];

class Flattener {
  readonly facts = new Map<string, string>();
  readonly #schemas: Node;

  constructor(document: Node) {
    this.#schemas = node(at(at(document, "components"), "schemas"));
    for (const [path, item] of Object.entries(node(at(document, "paths"))))
      for (const [method, operation] of Object.entries(node(item)))
        this.#operation(`${method} ${path}`, node(operation));
    for (const [name, schema] of Object.entries(this.#schemas))
      if (!at(schema, "enum")) this.#schema(name, node(schema));
  }

  #add(key: string, value: unknown): void {
    this.facts.set(key, typeof value === "string" ? value : JSON.stringify(value));
  }

  #operation(key: string, operation: Node): void {
    this.#add(`${key}`, "exists");
    if (at(operation, "operationId") !== undefined) this.#add(`${key} operationId`, at(operation, "operationId"));
    if (at(operation, "requestBody") !== undefined) this.#add(`${key} body`, contentOf(at(operation, "requestBody")));
    for (const [status, response] of Object.entries(node(at(operation, "responses"))))
      this.#add(`${key} ${status}`, contentOf(response));
  }

  #schema(key: string, schema: Node): void {
    const { $ref } = schema;
    if (typeof $ref === "string") {
      const name = nameOf($ref);
      const target = node(this.#schemas[name]);
      // An enum is a fact about the member; whether it has a name of its own is a matter of taste.
      if (at(target, "enum") === undefined) this.#add(`${key} is`, name);
      else this.#schema(key, target);
      return;
    }
    const required = at(schema, "required");
    const names = Array.isArray(required) ? required : [];
    for (const name of names) this.#add(`${key}.${name} required`, true);
    for (const facet of FACETS) {
      const value = schema[facet];
      if (value === undefined) continue;
      if (facet === "additionalProperties" && isNode(value)) this.#schema(`${key}{}`, value);
      else this.#add(`${key} ${facet}`, Array.isArray(value) ? value.toSorted() : value);
    }
    const items = at(schema, "items");
    if (isNode(items)) this.#schema(`${key}[]`, items);
    for (const [name, property] of Object.entries(node(at(schema, "properties"))))
      this.#schema(`${key}.${name}`, node(property));
  }
}

const nameOf = (reference: string) => reference.slice(reference.lastIndexOf("/") + 1);

function contentOf(value: unknown): string {
  const schema = node(at(at(at(value, "content"), "application/json"), "schema"));
  const { $ref } = schema;
  return typeof $ref === "string" ? nameOf($ref) : "nothing";
}

export function flatten(document: unknown): Facts {
  return new Flattener(node(document)).facts;
}
