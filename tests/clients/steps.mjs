// What every client here is asked to do: list, then one call after another. It knows no SDK.
//
// A step is {"tool", "arguments", "cancelAfter"?}: with `cancelAfter`, the call is cancelled once that many
// progress notifications have come. The result is printed as one line of JSON.

export async function main(connect) {
  const [url, steps] = [process.argv[2], JSON.parse(process.argv[3])];
  const client = await connect(new URL(url));
  const tools = [];
  let cursor;
  do {
    const page = await client.list(cursor);
    tools.push(...page.tools.map((tool) => tool.name));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  const answers = [];
  for (const step of steps) answers.push(await take(client, step));
  const revision = client.revision();
  await client.close();
  console.log(JSON.stringify({ revision, tools, answers }));
}

async function take(client, step) {
  const stop = new AbortController();
  const progress = [];
  const onprogress = (told) => {
    progress.push([told.progress, told.total]);
    if (step.cancelAfter !== undefined && progress.length >= step.cancelAfter) stop.abort("enough");
  };
  const began = performance.now();
  try {
    const options = { onprogress, signal: stop.signal, timeout: 30_000 };
    const result = await client.call({ name: step.tool, arguments: step.arguments }, options);
    const content = result.content.map((part) => part.text ?? part.type);
    return { content, isError: result.isError ?? false, structured: result.structuredContent, progress };
  } catch (error) {
    const seconds = (performance.now() - began) / 1000;
    return { failed: String(error?.message ?? error), code: error?.code, seconds, progress };
  }
}
