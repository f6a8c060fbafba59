// The key that a server may ask for: typed in by whoever has it, kept until the tab is closed, sent to this server only.

import { byId } from "./dom.js";

const NAME = "tandem-api-key";

export function authorization() {
  const key = sessionStorage.getItem(NAME);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export const isKeyMissing = (error) => error?.code === "invalid_api_key";

/** Shows the field for it; resolves once one has been typed in. */
export function typedKey() {
  const field = byId("key");
  byId("key-field").hidden = false;
  field.focus();
  return new Promise((resolve) => {
    const take = () => {
      const key = field.value.trim();
      if (!key || /[^\x21-\x7e]/.test(key)) return;
      sessionStorage.setItem(NAME, key);
      field.value = "";
      byId("key-field").hidden = true;
      resolve();
    };
    byId("use-key").onclick = take;
    field.onkeydown = (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      take();
    };
  });
}
