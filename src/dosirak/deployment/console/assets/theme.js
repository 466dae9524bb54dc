// The chosen theme, set before anything is drawn.
"use strict";
(() => {
  const chosen = localStorage.getItem("dosirak-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
