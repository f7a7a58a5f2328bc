// The playground and the live table of micro-kernels. Talks to this server alone, by its public routes.
"use strict";

const $ = (id) => document.getElementById(id);
const messages = [];
let running = null;

function headers() {
  const key = $("key").value.trim();
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

function add(tag, text, className) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  $("log").append(element);
  $("log").scrollTop = $("log").scrollHeight;
  return element;
}

function number(id) {
  const value = $(id).value;
  return value === "" ? undefined : Number(value);
}

function request(prompt, isChat) {
  const body = { stream: true, stream_options: { include_usage: true } };
  for (const id of ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed"]) {
    const value = number(id);
    if (value !== undefined) body[id] = value;
  }
  if (isChat) return ["v1/chat/completions", { ...body, messages, logprobs: true, top_logprobs: 5 }];
  return ["v1/completions", { ...body, prompt, logprobs: 5 }];
}

const percent = (logprob) => `${(100 * Math.exp(logprob)).toFixed(1)} %`;

// One shape for both routes: [text, probability, alternatives].
function tokensOf(choice) {
  const logprobs = choice.logprobs;
  if (!logprobs) return [];
  if (logprobs.content) {
    return logprobs.content.map((t) => [t.token, t.logprob, t.top_logprobs.map((o) => [o.token, o.logprob])]);
  }
  return logprobs.tokens.map((text, i) => [
    text, logprobs.token_logprobs[i], Object.entries(logprobs.top_logprobs?.[i] ?? {}),
  ]);
}

// [text, its tokens]. A character made of several tokens is one piece, and has all of them; a token that is no part of
// the text (a special one) has none, nor has the end of a text that waited for this event.
function piecesOf(text, tokens) {
  const pieces = [];
  let waiting = [];
  let rest = text;
  for (const token of tokens) {
    const start = token[0] ? rest.indexOf(token[0]) : -1;
    if (start < 0) {
      waiting.push(token);
      continue;
    }
    pieces.push([rest.slice(0, start), waiting], [token[0], [token]]);
    waiting = [];
    rest = rest.slice(start + token[0].length);
  }
  pieces.push([rest, waiting]);
  return pieces.filter(([part]) => part);
}

const titleOf = ([, logprob, others]) =>
  [percent(logprob), ...others.map(([text, other]) => `${JSON.stringify(text)} ${percent(other)}`)].join("\n");

function show(answer, choice) {
  const text = choice.delta ? choice.delta.content ?? "" : choice.text;
  for (const [part, tokens] of piecesOf(text, tokensOf(choice))) {
    const span = document.createElement("span");
    span.textContent = part;
    if (tokens.length) {
      span.className = "token";
      span.title = tokens.map(titleOf).join("\n\n");
    }
    answer.append(span);
  }
  $("log").scrollTop = $("log").scrollHeight;
  return text;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      if (part.startsWith("data: {")) yield JSON.parse(part.slice(6));
    }
  }
}

async function ask(prompt) {
  const isChat = document.querySelector("[name=mode]:checked").value === "chat";
  if (isChat) messages.push({ role: "user", content: prompt });
  add("h3", isChat ? "You" : "Prompt");
  add("p", prompt);
  const [path, body] = request(prompt, isChat);
  add("h3", isChat ? "Assistant" : "Completion");
  const answer = add("p", "");
  let text = "";
  let count = 0;
  let first = 0;
  running = new AbortController();
  try {
    const response = await fetch(path, {
      method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal,
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      for (const choice of event.choices) {
        text += show(answer, choice);
        count += tokensOf(choice).length;
      }
      const now = performance.now();
      if (count && !first) first = now;
      if (count > 1) $("rate").textContent = `${count} tokens, ${((1000 * (count - 1)) / (now - first)).toFixed(1)} tokens/s`;
      if (event.usage) $("rate").textContent += `, prompt ${event.usage.prompt_tokens}`;
    }
  } catch (error) {
    if (error.name !== "AbortError") add("p", error.message, "error");
  }
  running = null;
  if (isChat) text ? messages.push({ role: "assistant", content: text }) : messages.pop();
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const prompt = $("prompt").value || $("prompt").placeholder;
  if (running) return;
  $("send").disabled = true;
  $("stop").disabled = false;
  $("prompt").value = "";
  await ask(prompt);
  $("send").disabled = false;
  $("stop").disabled = true;
  $("prompt").focus();
});

$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    $("form").requestSubmit();
  }
});

$("stop").addEventListener("click", () => running?.abort());

$("clear").addEventListener("click", () => {
  running?.abort();
  messages.length = 0;
  $("log").replaceChildren();
  $("rate").textContent = "";
});

function cell(row, text, className) {
  const td = row.insertCell();
  td.textContent = text;
  if (className) td.className = className;
  return td;
}

function showKernels(ops) {
  const phase = $("kernel-phase").value;
  const rows = [...ops].sort((a, b) => b[phase].share - a[phase].share).map((op) => {
    const cost = op[phase];
    const row = document.createElement("tr");
    cell(row, op.count > 1 ? `${op.op} × ${op.count}` : op.op);
    const share = cell(row, "");
    const meter = document.createElement("meter");
    meter.max = 1;
    meter.value = cost.share;
    share.append(meter, ` ${(100 * cost.share).toFixed(1)} %`);
    cell(row, (1e6 * cost.seconds).toFixed(1), "number");
    cell(row, cost.gigabytes_per_s.toFixed(1), "number");
    cell(row, cost.gigaoperations_per_s.toFixed(1), "number");
    cell(row, cost.kernel);
    return row;
  });
  $("kernels").tBodies[0].replaceChildren(...rows);
  const step = ops.reduce((sum, op) => sum + op[phase].seconds, 0);
  $("step").textContent = step ? `${(1000 * step).toFixed(2)} ms a step` : "no step of this phase yet";
}

async function look() {
  try {
    const health = await (await fetch("health/ready")).json();
    $("phase").textContent = health.status;
    const response = document.hidden ? null : await fetch("v1/kernels", { headers: headers() });
    if (response?.ok) {
      const { model, ops } = await response.json();
      $("model").textContent = model;
      showKernels(ops);
    }
  } catch {
    $("phase").textContent = "unreachable";
  }
}

$("kernel-phase").addEventListener("change", look);
look();
setInterval(look, 1000);
