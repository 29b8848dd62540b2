"use strict";
// Filters and orders the answers. Without it, all of them are there, in the order of the file.
(() => {
  const form = document.getElementById("filters");
  const list = document.getElementById("answers");
  if (!form || !list) return;
  const all = [...list.children];
  const texts = all.map((article) => article.textContent.toLowerCase());
  const value = (id) => document.getElementById(id)?.value ?? "";
  const chosen = (id, own) => value(id) === "" || value(id) === `=${own}`;

  function show() {
    const words = value("search").toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    all.forEach((article, number) => {
      const fits =
        chosen("kind", article.dataset.kind) &&
        chosen("category", article.dataset.category) &&
        words.every((word) => texts[number].includes(word));
      article.hidden = !fits;
      found += fits;
    });
    document.getElementById("found").textContent = `${found} of ${all.length} shown`;
  }

  function order() {
    const by = value("sort");
    const sorted = [...all].sort((one, other) => one.dataset[by] - other.dataset[by]);
    list.append(...sorted);
  }

  for (const event of ["input", "change"]) form.addEventListener(event, show);
  document.getElementById("sort").addEventListener("change", order);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
