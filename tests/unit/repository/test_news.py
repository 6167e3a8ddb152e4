"""What is told of failures, and how often."""

from obnam.repository.news import CAUSES_MAX, QUIET_S, News

LOST = "the connection was lost"


def test_one_cause_is_told_once_however_many_it_ends() -> None:
    news = News()
    assert [news.is_news(LOST, 1, 100.0) for _ in range(4)] == [True, False, False, False]
    assert [news.is_news(LOST, 2, 101.0) for _ in range(4)] == [True, False, False, False]


def test_another_cause_is_told() -> None:
    news = News()
    assert news.is_news(LOST, 1, 100.0)
    assert news.is_news("nothing listens there", 1, 100.0)
    assert not news.is_news(LOST, 1, 100.0)


def test_a_link_that_drops_all_the_time_is_told_of_now_and_then() -> None:
    news, told = News(), 0
    for second in range(600):
        told += news.is_news(LOST, 1, float(second))
        news.went_through()
    assert told == 600 / QUIET_S


def test_a_second_trouble_is_told_when_it_lasts() -> None:
    news = News()
    for tries in range(1, 5):
        assert news.is_news(LOST, tries, 100.0 + tries)
    news.went_through()
    assert not news.is_news(LOST, 1, 110.0)
    assert news.is_news(LOST, 2, 111.0)


def test_not_all_is_remembered() -> None:
    news = News()
    for number in range(10 * CAUSES_MAX):
        assert news.is_news(f"odd {number}", 1, 100.0)
    assert len(news._told) <= CAUSES_MAX
