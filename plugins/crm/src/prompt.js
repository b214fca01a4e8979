// What the model is told of a customer. Knows nothing of HTTP.

/** The instruction, with those facts of a customer that an operator named and the CRM has, each a line. */
export function system({ instruction, facts }, customer) {
  const known = facts.filter((name) => ["string", "number", "boolean"].includes(typeof customer?.[name]));
  if (known.length === 0) {
    return instruction;
  }
  const lines = known.map((name) => `- ${name}: ${plain(customer[name])}`);
  return [instruction, "", "The customer who asks:", ...lines].join("\n");
}

/** On one line and not long, so that what stands in a CRM cannot pass for an instruction of the operator's. */
function plain(value) {
  return String(value).replace(/\s+/g, " ").slice(0, 200);
}
