// Requests to the server, and how its answers are read.

// An error message about a field.
export class FieldError extends Error {
  constructor(sentence, field) {
    super(sentence);
    this.field = field;
  }
}

async function failure(response) {
  try {
    const { error, field } = await response.json();
    return new FieldError(error, field);
  } catch {
    return new FieldError(`The server refused the request (${response.status}).`, "");
  }
}

async function send(path, body, signal) {
  let response;
  try {
    response = await fetch(path, { method: "POST", body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new FieldError("The server does not answer. Is it still running?", "");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

export async function ask(path, request, signal) {
  return (await send(path, JSON.stringify(request), signal)).json();
}

// The address of the report on a file.
export async function upload(file, decay) {
  const about = new URLSearchParams({ name: file.name, weight_decay: decay });
  return (await (await send(`/api/diagnosis?${about}`, file)).json()).report;
}

// The frames of a map as they arrive; see maps.py for their format.
export async function* streamMap(request, signal) {
  const response = await send("/api/map", JSON.stringify(request), signal);
  const reader = response.body.getReader();
  let buffer = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(buffer.length + value.length);
    joined.set(buffer);
    joined.set(value, buffer.length);
    buffer = joined;
    for (;;) {
      if (buffer.length < 8) break;
      const [text, numbers] = new Uint32Array(buffer.slice(0, 8).buffer);
      if (buffer.length < 8 + text + numbers) break;
      const about = JSON.parse(new TextDecoder().decode(buffer.subarray(8, 8 + text)));
      const planes = new Float32Array(buffer.slice(8 + text, 8 + text + numbers).buffer);
      buffer = buffer.slice(8 + text + numbers);
      yield { about, planes };
    }
  }
}

// Runs one request at a time; of the requests made meanwhile, only the newest is run next.
export class Latest {
  constructor(run) {
    this.run = run;
    this.waiting = null;
    this.stop = null;
    this.shown = false;
  }

  // A stream that has already shown a map is stopped for a newer request.
  async ask(request) {
    this.waiting = request;
    if (this.stop) {
      if (this.shown) this.stop.abort();
      return;
    }
    while (this.waiting) {
      const next = this.waiting;
      this.waiting = null;
      this.stop = new AbortController();
      this.shown = false;
      try {
        await this.run(next, this.stop.signal, () => {
          this.shown = true;
          if (this.waiting) this.stop.abort();
        });
      } catch (error) {
        if (error.name !== "AbortError") console.warn(error);
      }
      this.stop = null;
    }
  }
}
