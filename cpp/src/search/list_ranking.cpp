#include "search/list_ranking.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <mutex>
#include <shared_mutex>

#include "index/index_view.hpp"
#include "kernels.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

Candidates nearest_lists(const CodeStore& store, const Scoring& scoring, const Query& query,
                         std::size_t number) {
  const std::size_t lists = store.lists().size();
  Reservoir best(std::min(number, lists));
  std::array<float, Reservoir::kBurst> scores;
  const Scoring::ListOrder order = scoring.list_order(query.lists, query.deviation, query.w);
  const auto rank = kernels().query.rank;
  for (std::size_t first = 0; first < lists; first += scores.size()) {
    std::uint32_t mask =
        rank(order.products + first, order.addends + first, std::min(scores.size(), lists - first),
             order.unit, order.share, best.threshold(), scores.data());
    for (std::uint32_t left = mask; left != 0; left &= left - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(left));
      if (store.count(first + i) == 0) mask &= ~(1u << i);
    }
    if (mask == 0) continue;
    best.push(scores.data(), mask, static_cast<std::uint32_t>(first));
    best.trim();
  }
  return best.take();
}

void Index::rank_lists(const Rows& queries, std::uint32_t* ranks) const {
  require_dimensions(queries, "queries", codec_->d());
  const std::shared_lock lock(locks_.state);
  const IndexView view = this->view();
  const std::shared_ptr<const CoarsePlan> plan = coarse_plan(0);
  const std::size_t lists = codec_->lists();
  constexpr std::size_t kBatch = 64;
  for (std::size_t first = 0; first < queries.n; first += kBatch) {
    const std::size_t n = std::min(kBatch, queries.n - first);
    const QueryBatch batch(view.codec, view.scoring, *plan, view.centroids,
                           {queries.row(first), n, queries.d}, {nullptr, 0}, false);
    parallel_for(n, [&](std::size_t q) {
      std::uint32_t* own = ranks + (first + q) * lists;
      std::fill_n(own, lists, static_cast<std::uint32_t>(lists));
      Candidates order = nearest_lists(view.store, view.scoring, batch[q], lists);
      std::sort(order.begin(), order.end(), std::greater<>());
      for (std::size_t i = 0; i < order.size(); ++i) {
        own[order[i].position()] = static_cast<std::uint32_t>(i);
      }
    });
  }
}

}  // namespace waterfill
