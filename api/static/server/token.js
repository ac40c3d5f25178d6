// @ts-check
// The bearer token: asked for when the server wants one, kept as long as the tab is open.

const KEY = "ncore-token";
const DIALOG = `<dialog id="token" aria-labelledby="token-title">
  <form method="dialog">
    <h2 id="token-title">Token</h2>
    <p>This server needs a bearer token (one of <code>NCORE_TOKENS</code>).</p>
    <p class="errors" role="alert" hidden></p>
    <label>Token <input name="token" type="password" autocomplete="off" required></label>
    <p class="actions"><button value="save">Use it</button></p>
  </form>
</dialog>`;

export const token = () => sessionStorage.getItem(KEY) ?? "";

/** A header can carry no other characters. @param {string} text */
const isSendable = (text) => /^[\x21-\x7e]+$/.test(text);

/** @type {Promise<void> | null} */
let asking = null;

/** Asks for a token; one that was sent and refused is said to be so. @param {string} refused */
export function askToken(refused) {
  if (token() !== refused) return Promise.resolve();  // another request has asked meanwhile
  asking ??= new Promise((resolve) => {
    if (!document.getElementById("token")) document.body.insertAdjacentHTML("beforeend", DIALOG);
    const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("token"));
    const input = /** @type {HTMLInputElement} */ (dialog.querySelector("input"));
    const fault = /** @type {HTMLElement} */ (dialog.querySelector("[role=alert]"));
    const say = (/** @type {string} */ text) => {
      fault.hidden = !text;
      fault.textContent = text;
      input.toggleAttribute("aria-invalid", Boolean(text));
    };
    input.value = "";
    say(refused && "The server refused this token. Check it and try again.");
    dialog.oncancel = (event) => event.preventDefault();  // without a token there is nothing to show
    dialog.onsubmit = (event) => {
      const given = input.value.trim();
      if (isSendable(given)) {
        sessionStorage.setItem(KEY, given);
        asking = null;
        resolve();
      } else {
        event.preventDefault();
        say("A token has only letters, digits and signs of ASCII, and no spaces.");
      }
    };
    dialog.showModal();
  });
  return asking;
}
