// Requests to the studio; errors carry the server's one line.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function answerOf(request) {
  let answer;
  try {
    answer = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("the studio does not answer; is it still running?", 0);
  }
  if (!answer.ok) {
    let message = answer.statusText;
    try { message = (await answer.json()).error || message; } catch { /* no JSON */ }
    throw new ApiError(message, answer.status);
  }
  return answer;
}

export async function get(path, options = {}) {
  return (await answerOf(fetch(path, options))).json();
}

export async function getBytes(path, options = {}) {
  return (await answerOf(fetch(path, options))).arrayBuffer();
}

export async function getBlob(path, options = {}) {
  return (await answerOf(fetch(path, options))).blob();
}

// GET that may answer 202 while something is being prepared.
export async function getWhenReady(path, waiting) {
  for (;;) {
    const answer = await answerOf(fetch(path));
    const value = await answer.json();
    if (answer.status !== 202) return value;
    waiting(value);
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

export async function post(path, value = {}) {
  return (await answerOf(fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value),
  }))).json();
}
