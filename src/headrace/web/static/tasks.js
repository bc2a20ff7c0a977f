// The tasks' script: a chosen file's text goes into the field beside it. Without it, people paste.
"use strict";

for (const input of document.querySelectorAll("input[data-into]")) {
  input.hidden = false;
  input.addEventListener("change", async () => {
    const file = input.files[0];
    if (file) document.getElementById(input.dataset.into).value = await file.text();
  });
}
const result = document.getElementById("result");
if (result) {
  result.tabIndex = -1;
  result.focus({ preventScroll: false });
}
