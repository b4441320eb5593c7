// Keeps the page still for its reader while htmx replaces what is new.
(() => {
  const region = () => document.getElementById("live");
  let kept = null;

  const isReading = () => {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed && region()?.contains(selection.anchorNode);
  };

  const keep = () => ({
    open: [...region().querySelectorAll("details[id]")].filter((one) => one.open).map((one) => one.id),
    focus: region().contains(document.activeElement) ? nameOf(document.activeElement) : null,
  });

  const nameOf = (element) => element.id || element.getAttribute("href") || element.parentElement?.id;

  const putBack = ({ open, focus }) => {
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focus === null || focus === undefined) return;
    const candidates = region().querySelectorAll("a[href], summary, button, input, [tabindex]");
    [...candidates].find((one) => nameOf(one) === focus)?.focus({ preventScroll: true });
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "live") return;
    if (isReading()) event.detail.shouldSwap = false;
    else if (event.detail.shouldSwap) kept = keep();
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (kept !== null) putBack(kept);
    kept = null;
    tellAges();
  });

  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const ageOf = (iso) => {
    const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(iso)) / 1000));
    const [size, unit] = UNITS.find(([size]) => seconds >= size) ?? UNITS[3];
    return `${Math.floor(seconds / size)} ${unit} ago`;
  };
  const tellAges = () => {
    for (const one of document.querySelectorAll("[data-age]")) one.textContent = ageOf(one.dataset.age);
  };
  document.addEventListener("DOMContentLoaded", tellAges);
  setInterval(tellAges, 1000);
})();
