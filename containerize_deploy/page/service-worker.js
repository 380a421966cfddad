// Keeps the page's files, so that it works without its server from the second visit on.

importScripts("files.js"); // FILES: name to digest, written by the command that puts the site together

const CACHE = `scene-classifier ${self.registration.scope}`; // other pages of this origin have theirs

// LiteRT.js has a build for processors with relaxed SIMD and one for others, and takes one by the same test.
const RELAXED_SIMD = WebAssembly.validate(
  Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11),
);
const OTHER_BUILD = RELAXED_SIMD ? "litert/litert_wasm_compat" : "litert/litert_wasm_internal";

const key = (name) => `${name}?${encodeURIComponent(FILES[name])}`;

self.addEventListener("install", (event) => event.waitUntil(store()));
self.addEventListener("activate", (event) => event.waitUntil(tidy()));
self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const { scope } = self.registration;
  const name = url.slice(scope.length).split(/[?#]/)[0] || "index.html";
  if (method === "GET" && url.startsWith(scope) && Object.hasOwn(FILES, name)) event.respondWith(answer(name, event.request));
});

/** Fetches what is new. A file of another version than the list's fails the whole: the old version stays. */
async function store() {
  const cache = await caches.open(CACHE);
  const wanted = Object.keys(FILES).filter((name) => !name.startsWith(OTHER_BUILD));
  await Promise.all(
    wanted.map(async (name) => {
      if (await cache.match(key(name))) return;
      // By "./", since some hosts redirect from index.html, and a redirected answer can't open a page.
      const url = name === "index.html" ? "./" : name;
      const response = await fetch(url, { integrity: FILES[name], cache: "no-cache" });
      if (!response.ok) throw new Error(`${name}: ${response.status}`);
      await cache.put(key(name), response);
    }),
  );
  await self.skipWaiting();
}

async function tidy() {
  const cache = await caches.open(CACHE);
  const current = new Set(Object.keys(FILES).map((name) => new URL(key(name), self.registration.scope).href));
  for (const request of await cache.keys()) if (!current.has(request.url)) await cache.delete(request);
  await caches.delete("scene-classifier"); // that of versions up to 2.0
  await self.clients.claim();
}

async function answer(name, request) {
  const cache = await caches.open(CACHE);
  return (await cache.match(key(name), { ignoreVary: true })) ?? fetch(request);
}
