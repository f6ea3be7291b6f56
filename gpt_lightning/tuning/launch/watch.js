"use strict";
// Keeps the page up to date: the server says which sections have changed, in which order they stand, and how long it took.
// The buttons send the token that came with the address, which a page of another site does not know.
addEventListener("drawable", () => {
  const token = new URLSearchParams(location.search).get("token") || "";
  const main = document.querySelector("main"), controls = document.getElementById("controls");
  const make = (name, settings, ...inner) => {
    const element = Object.assign(document.createElement(name), settings);
    element.append(...inner);
    return element;
  };
  const state = make("span", {id: "state", className: "soft", textContent: "connecting"});
  const answer = make("output", {id: "answer"});
  const send = async (action, content) => {
    const headers = {"X-Token": token, "Content-Type": "application/json"};
    try {
      const response = await fetch(action, {method: "POST", headers, body: JSON.stringify(content)});
      answer.textContent = (await response.json()).said;
    } catch (problem) { answer.textContent = `The server does not answer: ${problem.message}`; }
  };
  const button = (text, act) => make("button", {textContent: text, onclick: act});
  const numbers = make("input", {id: "numbers", placeholder: "failed trials: all, or 3 7"});
  const point = make("input", {id: "point", placeholder: "model.optimizer.lr: 4e-3, ..."});
  controls.append(
    make("p", {}, state),
    make("div", {className: "row"},
      button("Stop the sweep", () => confirm("Let every worker save and end?") && send("stop", {})),
      make("span", {className: "pair"}, numbers, button("Retry", () => send("retry", {trials: numbers.value}))),
      make("span", {className: "pair"}, point, button("Enqueue", () => send("enqueue", {point: point.value})))),
    make("p", {}, answer));

  const source = new EventSource(`events?token=${encodeURIComponent(token)}`);
  source.onopen = () => { state.textContent = "live"; };
  source.onerror = () => { state.textContent = "the server does not answer; what is shown is the last that it said"; };
  source.onmessage = message => {
    const began = performance.now(), update = JSON.parse(message.data);
    const sections = new Map([...main.querySelectorAll("section")].map(each => [each.dataset.part, each]));
    for (const [part, html] of Object.entries(update.parts)) {
      if (!sections.has(part)) {
        const made = make("section", {});
        made.dataset.part = part;
        sections.set(part, made);
        main.append(made);
      }
      showSection(sections.get(part), html);
    }
    update.order.forEach((part, place) => {
      const here = main.querySelectorAll("section")[place];
      if (sections.has(part) && here !== sections.get(part)) here.before(sections.get(part));
    });
    sections.forEach((section, part) => { if (!update.order.includes(part)) section.remove(); });
    document.querySelector("nav ul").replaceChildren(...[...main.querySelectorAll("section > h2")].map(
      each => make("li", {}, make("a", {href: `#${each.id}`, textContent: each.textContent}))));
    state.textContent = `live, as of ${update.time}`;
    main.dataset.milliseconds = Math.round(performance.now() - began);
  };
});
