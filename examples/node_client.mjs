// A program in another language with the same hard limits: `costguard serve` on this machine, Node 18 or newer.
const server = process.env.COSTGUARD_SERVER ?? "http://127.0.0.1:8787";
const token = process.env.COSTGUARD_TOKEN;

async function ask(path, body) {
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  const answer = await fetch(`${server}/ai-spend/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const told = await answer.json();
  if (answer.status === 402) throw Object.assign(new Error(told.detail), { name: "BudgetExceeded", budgets: told.budgets });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${told.detail}`);
  return told;
}

// Reserves the most that a call can cost, makes it, and tells what it did cost; `call` resolves to its usage.
async function guarded(wanted, call) {
  const { reservation } = await ask("reserve", wanted);
  // A call that failed after it was sent may have been billed, so it is not released: it is charged as it was held.
  const usage = await call();
  return ask("settle", { reservation, ...usage });
}

await ask("budget", { feature: "node-demo", limit: "$0.01/day" });
const wanted = { model: "gpt-4o", feature: "node-demo", input_tokens: 1000, max_output_tokens: 100 };
try {
  for (let number = 1; ; number++) {
    const { cost_usd } = await guarded(wanted, async () => ({ input_tokens: 1000, output_tokens: 100 }));
    console.log(`call ${number} cost $${cost_usd}`);
  }
} catch (error) {
  if (error.name !== "BudgetExceeded") throw error;
  console.log(`${error.name}: ${error.message}`);
}
